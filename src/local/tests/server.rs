//! Connections, bodies and signatures.

use super::*;

#[tokio::test]
async fn signatures_are_checked() {
    let endpoint = start(Options::default()).await;
    let keys = Keys::test();
    let token = Some("token".to_owned());
    let cases = [
        (
            Keys::new(&*keys.access_key_id, "wrong"),
            "InvalidSignatureException: The request signature we calculated",
        ),
        (
            Keys::new("AKIDOTHER", "x"),
            "UnrecognizedClientException: The security token included in the request is invalid.",
        ),
        (
            Keys {
                session_token: token,
                ..keys.clone()
            },
            "UnrecognizedClientException: The security token",
        ),
    ];
    for (keys, expected) in cases {
        let error = put(&kinesis_with(&endpoint, &keys), "s", &[(b"x", "k")])
            .await
            .unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    let (status, body) = post_json(&endpoint, &json!({})).await;
    assert_eq!(
        (status, &body["__type"]),
        (400, &json!("MissingAuthenticationTokenException"))
    );
    assert_eq!(endpoint.received().n_records(), 0);
}

#[tokio::test]
async fn signatures_for_another_service_are_refused() {
    let endpoint = start(Options::default()).await;
    let config = aws_sdk_firehose::Client::new(&sdk_config(&endpoint, &Keys::test()));
    let record = aws_sdk_firehose::types::Record::builder()
        .data(Blob::new("x"))
        .build()
        .unwrap();
    let error = config
        .put_record_batch()
        .delivery_stream_name("s")
        .records(record)
        .customize()
        .mutate_request(|request| {
            request
                .headers_mut()
                .insert("x-amz-target", "Kinesis_20131202.PutRecords");
        })
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("InvalidSignatureException"));
    assert_eq!(
        error.message(),
        Some("Credential should be scoped to correct service: 'kinesis'.")
    );
}

#[tokio::test]
async fn clocks_may_differ_by_five_minutes() {
    for (ahead_s, refusal) in [
        (-290, None),
        (290, None),
        (-310, Some("Signature not yet current")),
        (310, Some("Signature expired")),
    ] {
        let clock = Clock::new(move || match ahead_s {
            0.. => SystemTime::now() + Duration::from_secs(ahead_s as u64),
            _ => SystemTime::now() - Duration::from_secs(-ahead_s as u64),
        });
        let endpoint = start(Options {
            clock,
            ..Options::default()
        })
        .await;
        let result = put(&kinesis(&endpoint), "s", &[(b"x", "k")]).await;
        match refusal {
            None => assert!(result.is_ok(), "{ahead_s}"),
            Some(expected) => {
                let error = result.unwrap_err();
                assert!(
                    error.starts_with(&format!("InvalidSignatureException: {expected}")),
                    "{error}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_a_call_gets_an_answer_or_a_closed_connection() {
    let endpoint = start(unsigned()).await;
    let mut garbage = fastrand::Rng::with_seed(1);
    for n_bytes in [1, 10, 1000, 100_000] {
        let bytes: Vec<u8> = (0..n_bytes)
            .map(|_| garbage.u8(..))
            .chain(*b"\r\n\r\n")
            .collect();
        raw(&endpoint, &bytes).await;
    }
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    assert!(
        raw(&endpoint, many_headers.as_bytes())
            .await
            .starts_with(b"HTTP/1.1 431 ")
    );
    let unknown = post(
        &endpoint,
        "Kinesis_20131202.DeleteStream",
        "application/x-amz-json-1.1",
        b"{}",
    )
    .await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown
            .head
            .contains("x-amzn-errortype: UnknownOperationException")
    );
    assert_eq!(
        post(&endpoint, "Kinesis_20131202.PutRecords", "text/html", b"{}")
            .await
            .status,
        404
    );
    assert_eq!(
        post_cbor(&endpoint, &cbor_call("s", &[(b"x", "k")]))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn bodies_are_bounded_whether_announced_or_not() {
    let endpoint = start(unsigned()).await;
    let head = "POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n\
                content-type: application/x-amz-json-1.1\r\n";
    let announced = format!(
        "{head}content-length: {}\r\n\r\n",
        limits::BODY_BYTES_MAX + 1
    );
    let answer = raw(&endpoint, announced.as_bytes()).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 413 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );

    // Read while writing: the endpoint answers before it has read everything.
    let stream = TcpStream::connect(endpoint.address()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    writing
        .write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    for _ in 0..16 {
        writing.write_all(chunk.as_bytes()).await.unwrap();
    }
    writing.write_all(b"1\r\nx\r\n").await.unwrap();
    let mut status = [0; 13];
    reading.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413 ");
}

#[tokio::test]
async fn connections_are_kept_and_closed_at_the_end() {
    let endpoint = start(unsigned()).await;
    let mut stream = TcpStream::connect(endpoint.address()).await.unwrap();
    let call = cbor_call("s", &[(b"x", "k")]);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n\
         content-type: application/x-amz-cbor-1.1\r\ncontent-length: {}\r\n\r\n",
        call.len()
    );
    for n_calls in 1..=3 {
        stream
            .write_all(&[head.as_bytes(), &call].concat())
            .await
            .unwrap();
        endpoint
            .received()
            .wait_for(n_calls, PATIENCE)
            .await
            .unwrap();
    }
    let address = endpoint.address();
    endpoint.stop().await;
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap();
    assert_eq!(
        answers
            .windows(15)
            .filter(|window| window == b"HTTP/1.1 200 OK")
            .count(),
        3
    );
    assert!(TcpStream::connect(address).await.is_err());
}
