//! `DescribeTags` of EC2: one signed call of its Query API, sent through the client that all calls share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_smithy_types::error::display::DisplayErrorContext;
use bytes::Bytes;
use serde::Deserialize;

use super::encode;
use crate::aws::call::{Signing, Target};
use crate::aws::http::{Http, RawAnswer, TimeOuts};

/// How long connecting may take. Instances without a way to the internet are common, and wait here for nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a whole call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Pages that are asked for; one holds 1,000 tags, and an instance has about 50 at most.
const PAGES_MAX: usize = 20;
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// Why there are no tags to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagsError {
    /// The service won't answer this call until somebody changes something, a policy most likely.
    #[error("{code}: {message}")]
    Refused { code: String, message: String },
    /// It may answer the next time.
    #[error("{0}")]
    Failed(String),
}

/// Where EC2 is asked, as whom, and how many tags at a time.
#[derive(Debug)]
pub struct Ec2<'a> {
    pub http: &'a Arc<Http>,
    /// With scheme, without a trailing slash.
    pub endpoint: &'a str,
    pub region: &'a str,
    pub credentials: &'a Credentials,
    /// Tags a page, 5 … 1,000.
    pub page_size: usize,
}

/// The tags of an instance.
///
/// # Errors
///
/// See [`TagsError`]; what isn't an answer of EC2 is a failure.
pub async fn describe(
    ec2: &Ec2<'_>,
    instance_id: &str,
) -> Result<Vec<(String, String)>, TagsError> {
    let mut tags = Vec::new();
    let mut next_token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let mut form = format!(
            "Action=DescribeTags&Version=2016-11-15&Filter.1.Name=resource-id&Filter.1.Value.1={}&MaxResults={}",
            encode(instance_id),
            ec2.page_size,
        );
        if let Some(token) = next_token {
            form.push_str("&NextToken=");
            form.push_str(&encode(&token));
        }
        let page = read(&call(ec2, form).await?)?;
        tags.extend(
            page.tag_set
                .item
                .into_iter()
                .map(|tag| (tag.key, tag.value)),
        );
        next_token = page.next_token.filter(|token| !token.is_empty());
        if next_token.is_none() {
            return Ok(tags);
        }
    }
    Err(TagsError::Failed(format!(
        "more than {PAGES_MAX} pages of tags"
    )))
}

async fn call(ec2: &Ec2<'_>, form: String) -> Result<RawAnswer, TagsError> {
    let signing = Signing {
        identity: &ec2.credentials.clone().into(),
        region: ec2.region,
        service: "ec2",
        at: SystemTime::now(),
    };
    let failed =
        |error: &dyn std::error::Error| TagsError::Failed(DisplayErrorContext(error).to_string());
    let to = Target::new(ec2.endpoint).map_err(|error| failed(&error))?;
    let request = signing
        .request(
            &to,
            &[("content-type", CONTENT_TYPE)],
            Bytes::from(form).into(),
        )
        .map_err(|error| failed(&*error))?;
    let time_outs = TimeOuts {
        connect: Some(CONNECT_TIMEOUT),
        answer: None,
        whole: Some(CALL_TIMEOUT),
    };
    let answered = ec2.http.exchange(request, time_outs).await;
    answered.map_err(|error| failed(&error))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tag_set: TagSet,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct TagSet {
    #[serde(default)]
    item: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
struct Tag {
    key: String,
    /// Tags may have no value at all.
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    errors: Errors,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Errors {
    error: ServiceError,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceError {
    code: String,
    #[serde(default)]
    message: String,
}

fn read(answer: &RawAnswer) -> Result<Page, TagsError> {
    let no_answer = |why: &dyn std::fmt::Display| {
        TagsError::Failed(format!(
            "status {}, and no answer of EC2: {why}",
            answer.status
        ))
    };
    let text = std::str::from_utf8(&answer.body).map_err(|error| no_answer(&error))?;
    if (200..300).contains(&answer.status) {
        return quick_xml::de::from_str(text).map_err(|error| no_answer(&error));
    }
    let refusal: Refusal = quick_xml::de::from_str(text).map_err(|error| no_answer(&error))?;
    let ServiceError { code, message } = refusal.errors.error;
    Err(if is_lasting(answer.status, &code) {
        TagsError::Refused { code, message }
    } else {
        TagsError::Failed(format!("{code}: {message}"))
    })
}

/// Whether the same call would be refused again. Codes: EC2 API reference, "Error codes for the Amazon EC2 API".
fn is_lasting(status: u16, code: &str) -> bool {
    let is_of_the_moment = matches!(
        code,
        // Too many calls of this account.
        "RequestLimitExceeded" | "Throttling" | "ThrottlingException" |
        // Credentials at their end, or a clock that is being set.
        "RequestExpired" | "ExpiredToken" | "ExpiredTokenException"
    );
    (400..500).contains(&status) && !is_of_the_moment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> RawAnswer {
        RawAnswer {
            status,
            content_type: "text/xml;charset=UTF-8".to_owned(),
            error_type: None,
            date: None,
            body: body.to_owned().into(),
        }
    }

    fn page(items: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeTagsResponse \
             xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n  <requestId>7a62c49f</requestId>\n  {items}\n\
             </DescribeTagsResponse>"
        )
    }

    fn item(key: &str, value: &str) -> String {
        format!(
            "<item>\n<resourceId>i-1</resourceId><resourceType>instance</resourceType><key>{key}</key>{value}\n</item>"
        )
    }

    #[test]
    fn tags_are_read_as_they_are() {
        let items = [
            item("Name", "<value>web</value>"),
            item(
                "a&amp;b&#x20;&#252;",
                "<value>&lt;1&gt; &quot;&apos;</value>",
            ),
            item("blank", "<value> x  y </value>"),
            item("cdata", "<value><![CDATA[<&>]]> z</value>"),
            item("empty", "<value/>"),
            item("none", ""),
            item("lines", "<value>a&#10;b</value>"),
        ];
        let xml = page(&format!("<tagSet>{}</tagSet>", items.concat()));
        let page = read(&answer(200, &xml)).unwrap();
        let tags: Vec<_> = page
            .tag_set
            .item
            .iter()
            .map(|tag| (&*tag.key, &*tag.value))
            .collect();
        let expected = [
            ("Name", "web"),
            ("a&b ü", "<1> \"'"),
            ("blank", " x  y "),
            ("cdata", "<&> z"),
            ("empty", ""),
            ("none", ""),
            ("lines", "a\nb"),
        ];
        assert_eq!(tags, expected);
        assert_eq!(page.next_token, None);
    }

    #[test]
    fn a_page_may_be_empty_and_have_another_behind_it() {
        for (xml, next_token) in [
            ("<tagSet/>", None),
            ("<tagSet></tagSet><nextToken/>", Some("")),
            ("<nextToken>ab+/=</nextToken><tagSet/>", Some("ab+/=")),
        ] {
            let page = read(&answer(200, &page(xml))).unwrap();
            assert_eq!(
                (page.tag_set.item.len(), page.next_token.as_deref()),
                (0, next_token),
                "{xml}"
            );
        }
    }

    #[test]
    fn what_is_no_answer_of_ec2_is_a_failure() {
        let good = page(&format!(
            "<tagSet>{}</tagSet>",
            item("Name", "<value>web</value>")
        ));
        let cut = &good[..good.len() / 2];
        for (status, body) in [
            (200, ""),
            (200, "<html><body>Please sign in</body></html>"),
            (200, "{}"),
            (200, cut),
            (200, &page("")),
            (200, &page("<tagSet><item><value>x</value></item></tagSet>")),
            (
                200,
                &page("<tagSet><item><key>&undefined;</key></item></tagSet>"),
            ),
            (200, &page("<tagSet><item><key>x</item></key></tagSet>")),
            (502, "<html>Bad Gateway</html>"),
            (403, ""),
        ] {
            let result = read(&answer(status, body));
            assert!(
                matches!(result, Err(TagsError::Failed(_))),
                "{status} {body}: {result:?}"
            );
        }
        assert!(read(&answer(200, &good)).is_ok());
    }

    #[test]
    fn refusals_last_unless_their_code_says_otherwise() {
        for (status, code, is_lasting) in [
            (403, "UnauthorizedOperation", true),
            (401, "AuthFailure", true),
            (400, "OptInRequired", true),
            (400, "RequestLimitExceeded", false),
            (503, "RequestLimitExceeded", false),
            (400, "RequestExpired", false),
            (500, "InternalError", false),
            (503, "Unavailable", false),
        ] {
            let xml = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
                 <Message>a &lt;reason&gt;</Message></Error></Errors><RequestID>1</RequestID></Response>"
            );
            let error = read(&answer(status, &xml)).unwrap_err();
            assert_eq!(error.to_string(), format!("{code}: a <reason>"));
            assert_eq!(
                matches!(error, TagsError::Refused { .. }),
                is_lasting,
                "{status} {code}"
            );
        }
    }
}
