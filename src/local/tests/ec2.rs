//! Tags and metadata of an instance.

use std::collections::BTreeMap;

use super::*;

fn instance() -> Instance {
    let tags = BTreeMap::from([
        ("Name".into(), "web <1>".into()),
        ("team/a b".into(), "x&y".into()),
    ]);
    Instance {
        tags,
        ..Instance::default()
    }
}

async fn get(endpoint: &Endpoint, method: &str, path: &str, headers: &str) -> (u16, String) {
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{headers}\r\n");
    let answer = String::from_utf8(raw(endpoint, request.as_bytes()).await).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn tags_are_described_by_filters_and_in_pages() {
    let mut instance = instance();
    let endpoint = start(Options {
        instance: Some(instance.clone()),
        ..unsigned()
    })
    .await;
    let describe = async |endpoint: &Endpoint, form: &str| {
        let form = format!("Action=DescribeTags&Version=2016-11-15{form}");
        let answer = post(
            endpoint,
            "",
            "application/x-www-form-urlencoded",
            form.as_bytes(),
        )
        .await;
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let by_id = "&Filter.1.Name=resource-id&Filter.1.Value.1=i-0123456789abcdef0";
    let (status, all) = describe(&endpoint, by_id).await;
    assert_eq!(status, 200);
    let item = |key: &str, value: &str| {
        format!(
            "<item><resourceId>i-0123456789abcdef0</resourceId><resourceType>instance</resourceType><key>{key}</key>\
             <value>{value}</value></item>"
        )
    };
    let expected = format!(
        "<tagSet>{}{}</tagSet>",
        item("Name", "web &lt;1&gt;"),
        item("team/a b", "x&amp;y")
    );
    assert!(all.contains(&expected), "{all}");
    assert_eq!(
        get(
            &endpoint,
            "GET",
            &format!("/?Action=DescribeTags{by_id}"),
            ""
        )
        .await,
        (200, all)
    );

    let cases = [
        ("&Filter.1.Name=resource-id&Filter.1.Value.1=i-other", 0),
        ("&Filter.1.Name=key&Filter.1.Value.1=Name", 1),
        (
            "&Filter.1.Name=key&Filter.1.Value.1=Name&Filter.1.Value.2=team%2Fa+b",
            2,
        ),
        (
            "&Filter.1.Name=resource-type&Filter.1.Value.1=instance&Filter.2.Name=value&Filter.2.Value.1=x%26y",
            1,
        ),
        ("", 2),
    ];
    for (form, n_items) in cases {
        let (_, answer) = describe(&endpoint, form).await;
        assert_eq!(answer.matches("<item>").count(), n_items, "{form}");
    }
    for form in ["&Filter.1.Name=colour", "&MaxResults=4", "&NextToken=x"] {
        let (status, answer) = describe(&endpoint, form).await;
        assert!(
            status == 400 && answer.contains("<Code>InvalidParameterValue</Code>"),
            "{form}: {answer}"
        );
    }

    instance.tags = (0..12)
        .map(|number| (format!("key{number:02}"), String::new()))
        .collect();
    let endpoint = start(Options {
        instance: Some(instance),
        ..unsigned()
    })
    .await;
    for (form, n_items, next) in [
        ("&MaxResults=5", 5, Some("5")),
        ("&MaxResults=5&NextToken=5", 5, Some("10")),
        ("&MaxResults=5&NextToken=10", 2, None),
    ] {
        let (_, answer) = describe(&endpoint, form).await;
        assert_eq!(answer.matches("<item>").count(), n_items, "{form}");
        let token = answer
            .split("<nextToken>")
            .nth(1)
            .and_then(|rest| rest.split('<').next());
        assert_eq!(token, next, "{form}");
    }
}

#[tokio::test]
async fn unsigned_queries_are_refused_in_ec2_s_form() {
    let endpoint = start(Options {
        instance: Some(instance()),
        ..Options::default()
    })
    .await;
    let (status, body) = get(&endpoint, "GET", "/?Action=DescribeTags", "").await;
    assert_eq!(status, 401);
    assert!(
        body.starts_with("<Response><Errors><Error><Code>AuthFailure</Code>"),
        "{body}"
    );
}

#[tokio::test]
async fn metadata_needs_a_token_that_has_not_ended() {
    let clock = Clock::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
    let endpoint = start(Options {
        instance: Some(instance()),
        clock,
        ..Options::default()
    })
    .await;
    let id = "/latest/meta-data/instance-id";
    assert_eq!(get(&endpoint, "GET", id, "").await.0, 401);
    for (ttl_s, status) in [
        ("", 400),
        ("0", 400),
        ("21601", 400),
        ("x", 400),
        ("60", 200),
    ] {
        let header = format!("x-aws-ec2-metadata-token-ttl-seconds: {ttl_s}\r\n");
        assert_eq!(
            get(&endpoint, "PUT", "/latest/api/token", &header).await.0,
            status,
            "{ttl_s}"
        );
    }
    assert_eq!(get(&endpoint, "PUT", "/latest/api/token", "").await.0, 400);
    let (_, token) = get(
        &endpoint,
        "PUT",
        "/latest/api/token",
        "x-aws-ec2-metadata-token-ttl-seconds: 1\r\n",
    )
    .await;
    let with = |token: &str| format!("x-aws-ec2-metadata-token: {token}\r\n");
    assert_eq!(
        get(&endpoint, "GET", id, &with(&token)).await,
        (200, "i-0123456789abcdef0".into())
    );
    for ended in ["", "x", "local-metadata-token-1000"] {
        assert_eq!(
            get(&endpoint, "GET", id, &with(ended)).await.0,
            401,
            "{ended}"
        );
    }
    assert_eq!(get(&endpoint, "DELETE", id, &with(&token)).await.0, 405);
}

#[tokio::test]
async fn metadata_describes_the_instance() {
    let described = Instance {
        metadata_without_token: true,
        tags_in_metadata: true,
        role_name: Some("writer".into()),
        ..instance()
    };
    let endpoint = start(Options {
        instance: Some(described),
        ..Options::default()
    })
    .await;
    let cases = [
        ("meta-data/instance-type", 200, "t3.micro"),
        ("meta-data/ami-id", 200, "ami-0123456789abcdef0"),
        ("meta-data/local-ipv4", 200, "10.0.0.12"),
        ("meta-data/placement/region", 200, "eu-central-1"),
        (
            "meta-data/placement/availability-zone",
            200,
            "eu-central-1a",
        ),
        ("meta-data/tags/instance", 200, "Name\nteam/a b"),
        ("meta-data/tags/instance/team%2Fa%20b", 200, "x&y"),
        ("meta-data/tags/instance/other", 404, ""),
        ("meta-data/iam/security-credentials/", 200, "writer"),
        ("meta-data/iam/security-credentials/reader", 404, ""),
        ("meta-data/colour", 404, ""),
        ("dynamic/colour", 404, ""),
    ];
    for (path, status, body) in cases {
        assert_eq!(
            get(&endpoint, "GET", &format!("/latest/{path}"), "").await,
            (status, body.into()),
            "{path}"
        );
    }
    let (_, document) = get(
        &endpoint,
        "GET",
        "/latest/dynamic/instance-identity/document",
        "",
    )
    .await;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(
        (&document["accountId"], &document["region"]),
        (&json!(ACCOUNT_ID), &json!("eu-central-1"))
    );

    let endpoint = start(Options {
        instance: Some(instance()),
        ..Options::default()
    })
    .await;
    assert_eq!(
        get(&endpoint, "GET", "/latest/meta-data/tags/instance", "")
            .await
            .0,
        401
    );
    let nowhere = start(Options::default()).await;
    assert_eq!(
        get(&nowhere, "GET", "/latest/meta-data/instance-id", "")
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn the_role_s_keys_open_the_streams() {
    let described = Instance {
        metadata_without_token: true,
        role_name: Some("writer".into()),
        ..instance()
    };
    let endpoint = start(Options {
        instance: Some(described),
        ..Options::default()
    })
    .await;
    let (_, keys) = get(
        &endpoint,
        "GET",
        "/latest/meta-data/iam/security-credentials/writer",
        "",
    )
    .await;
    let keys: Value = serde_json::from_str(&keys).unwrap();
    let text = |name: &str| keys[name].as_str().unwrap().to_owned();
    let keys = Keys {
        session_token: Some(text("Token")),
        ..Keys::new(text("AccessKeyId"), text("SecretAccessKey"))
    };
    put(&kinesis_with(&endpoint, &keys), "s", &[(b"x", "k")])
        .await
        .unwrap();
}

#[tokio::test]
async fn faults_strike_metadata_only_by_name() {
    let described = Instance {
        metadata_without_token: true,
        ..instance()
    };
    let faults: Faults = "status=500 calls=1 service=imds".parse().unwrap();
    let endpoint = start(Options {
        instance: Some(described),
        faults,
        ..Options::default()
    })
    .await;
    assert_eq!(
        get(&endpoint, "GET", "/latest/meta-data/ami-id", "")
            .await
            .0,
        500
    );
    assert_eq!(
        get(&endpoint, "GET", "/latest/meta-data/ami-id", "")
            .await
            .0,
        200
    );
}
