//! AssumeRole, and what temporary keys open.

use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::ProvideCredentials;

use super::*;

const ROLE: &str = "arn:aws:iam::000000000000:role/writer";

async fn assume(
    endpoint: &Endpoint,
    keys: &Keys,
    external_id: Option<&str>,
) -> Result<Keys, String> {
    let config = sdk_config(endpoint, keys);
    let mut builder = AssumeRoleProvider::builder(ROLE)
        .session_name("AWSKinesisAgent")
        .configure(&config);
    if let Some(id) = external_id {
        builder = builder.external_id(id);
    }
    let base = config.credentials_provider().unwrap();
    let provider = builder.build_from_provider(base).await;
    let credentials = provider
        .provide_credentials()
        .await
        .map_err(|error| DisplayErrorContext(&error).to_string())?;
    Ok(Keys {
        session_token: credentials.session_token().map(str::to_owned),
        expires_at: credentials.expiry(),
        ..Keys::new(credentials.access_key_id(), credentials.secret_access_key())
    })
}

#[tokio::test]
async fn temporary_keys_open_the_streams_until_they_end() {
    let ended = Keys {
        session_token: Some("t".into()),
        expires_at: Some(SystemTime::now() - Duration::from_secs(3600)),
        ..Keys::new("ASIAENDED", "x")
    };
    let credentials = vec![Keys::test(), ended.clone()];
    let endpoint = start(Options {
        credentials,
        ..Options::default()
    })
    .await;
    let keys = assume(&endpoint, &Keys::test(), None).await.unwrap();
    let ends_in = keys
        .expires_at
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap()
        .as_secs();
    assert!((3590..=3600).contains(&ends_in), "{ends_in}");
    put(&kinesis_with(&endpoint, &keys), "s", &[(b"x", "k")])
        .await
        .unwrap();

    let other_token = Keys {
        session_token: Some("other".into()),
        ..keys.clone()
    };
    let error = put(&kinesis_with(&endpoint, &other_token), "s", &[(b"x", "k")])
        .await
        .unwrap_err();
    assert!(error.starts_with("UnrecognizedClientException"), "{error}");
    // The SDK wouldn't sign with keys that it knows to have ended.
    let ended = Keys {
        expires_at: None,
        ..ended
    };
    let error = put(&kinesis_with(&endpoint, &ended), "s", &[(b"x", "k")])
        .await
        .unwrap_err();
    assert!(error.starts_with("ExpiredTokenException"), "{error}");
    assert_eq!(endpoint.received().n_records(), 1);
}

#[tokio::test]
async fn roles_ask_for_their_external_id() {
    let role = Role {
        arn: ROLE.into(),
        external_id: Some("us".into()),
    };
    let endpoint = start(Options {
        roles: Roles::Only(vec![role]),
        ..Options::default()
    })
    .await;
    assert!(assume(&endpoint, &Keys::test(), Some("us")).await.is_ok());
    for wrong in [None, Some("them")] {
        let error = assume(&endpoint, &Keys::test(), wrong).await.unwrap_err();
        assert!(error.contains("AccessDenied"), "{error}");
    }
    let endpoint = start(Options {
        roles: Roles::Only(vec![]),
        ..Options::default()
    })
    .await;
    assert!(
        assume(&endpoint, &Keys::test(), None)
            .await
            .unwrap_err()
            .contains("AccessDenied")
    );
}

#[tokio::test]
async fn signatures_are_refused_in_the_words_of_the_query_protocol() {
    let endpoint = start(Options::default()).await;
    let wrong = Keys::new(Keys::TEST_ACCESS_KEY_ID, "wrong");
    assert!(
        assume(&endpoint, &wrong, None)
            .await
            .unwrap_err()
            .contains("SignatureDoesNotMatch")
    );
    let unknown = Keys::new("AKIDOTHER", "x");
    assert!(
        assume(&endpoint, &unknown, None)
            .await
            .unwrap_err()
            .contains("InvalidClientTokenId")
    );
}

#[tokio::test]
async fn parameters_are_checked() {
    let endpoint = start(unsigned()).await;
    let arn = "RoleArn=arn:aws:iam::000000000000:role/a/b%26c";
    let session = "RoleSessionName=x.y";
    let cases = [
        (
            format!("{arn}&{session}"),
            200,
            "assumed-role/b&amp;c/x.y</Arn>",
        ),
        (
            format!("{arn}&{session}&DurationSeconds=900"),
            200,
            "<Expiration>",
        ),
        (
            format!("{arn}&{session}&DurationSeconds=899"),
            400,
            "<Code>ValidationError</Code>",
        ),
        (format!("{arn}&RoleSessionName=x"), 400, "roleSessionName"),
        (
            format!("{arn}&RoleSessionName=a%20b"),
            400,
            "roleSessionName",
        ),
        (arn.into(), 400, "<Code>MissingParameter</Code>"),
        (session.into(), 400, "<Code>MissingParameter</Code>"),
        (
            format!("RoleArn=arn:aws:iam::1:role/x&{session}"),
            400,
            "<Code>ValidationError</Code>",
        ),
    ];
    for (form, status, expected) in cases {
        let body = format!("Action=AssumeRole&Version=2011-06-15&{form}");
        let answer = post(
            &endpoint,
            "",
            "application/x-www-form-urlencoded",
            body.as_bytes(),
        )
        .await;
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, status, "{form}: {text}");
        assert!(text.contains(expected), "{form}: {text}");
    }
    let answer = post(
        &endpoint,
        "",
        "application/x-www-form-urlencoded",
        b"Action=DeleteRole",
    )
    .await;
    assert!(
        String::from_utf8(answer.body)
            .unwrap()
            .contains("<Code>InvalidAction</Code>")
    );
}

#[tokio::test]
async fn a_web_identity_opens_the_streams_without_a_signature() {
    let endpoint = start(Options {
        roles: Roles::Only(vec![Role {
            arn: ROLE.into(),
            external_id: None,
        }]),
        ..Options::default()
    })
    .await;
    let call = |arn: &str, token: &str| {
        let body = format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={arn}&RoleSessionName=agent&WebIdentityToken={token}"
        );
        let endpoint = &endpoint;
        async move {
            let form = "application/x-www-form-urlencoded";
            let answer = post(endpoint, "", form, body.as_bytes()).await;
            (answer.status, String::from_utf8(answer.body).unwrap())
        }
    };
    let (status, text) = call(ROLE, "any-token").await;
    assert_eq!(status, 200, "{text}");
    let member = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
        rest.split('<').next().unwrap().to_owned()
    };
    let keys = Keys {
        session_token: Some(member("SessionToken")),
        ..Keys::new(member("AccessKeyId"), member("SecretAccessKey"))
    };
    put(&kinesis_with(&endpoint, &keys), "s", &[(b"x", "k")])
        .await
        .unwrap();
    let signer = endpoint.received().calls()[0].signer.clone().unwrap();
    assert_eq!(signer.access_key_id, keys.access_key_id);
    assert_eq!(signer.region, "eu-central-1");
    for (arn, token, status, code) in [
        (
            "arn:aws:iam::000000000000:role/other",
            "any-token",
            403,
            "AccessDenied",
        ),
        (ROLE, "t", 400, "ValidationError"),
    ] {
        let (answered, text) = call(arn, token).await;
        assert_eq!(answered, status, "{text}");
        assert!(text.contains(code), "{text}");
    }
}
