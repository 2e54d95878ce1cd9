//! DescribeTags of EC2, for the one instance that the endpoint knows.

use super::answer::{Answer, Protocol, ServiceError, xml_escape};
use super::options::Instance;
use super::percent::Form;

/// Legal sizes of a page (API reference); without one there is one page.
const MAX_RESULTS: std::ops::RangeInclusive<usize> = 5..=1000;

/// Lists tags, by the filters `resource-id`, `resource-type`, `key` and `value`, in pages if asked for.
pub(super) fn describe_tags(
    form: &Form,
    instance: Option<&Instance>,
) -> Result<Answer, ServiceError> {
    let filters = filters(form)?;
    let page_size = match form.get("MaxResults") {
        None => usize::MAX,
        Some(text) => text.parse().ok().filter(|size| MAX_RESULTS.contains(size)).ok_or_else(|| {
            invalid(format!("Value ( {text} ) for parameter maxResults is invalid. Expecting a value from 5 to 1000."))
        })?,
    };
    let skipped = match form.get("NextToken") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| invalid(format!("The token '{text}' is invalid")))?,
    };
    let tags: Vec<(&str, &str)> = instance
        .iter()
        .flat_map(|instance| {
            instance
                .tags
                .iter()
                .map(|(key, value)| (instance.id.as_str(), key.as_str(), value.as_str()))
        })
        .filter(|tag| filters.iter().all(|filter| filter.admits(*tag)))
        .map(|(_, key, value)| (key, value))
        .collect();
    let id = instance
        .map(|instance| instance.id.as_str())
        .unwrap_or_default();
    let items: String = tags
        .iter()
        .skip(skipped)
        .take(page_size)
        .map(|(key, value)| {
            format!(
                "<item><resourceId>{}</resourceId><resourceType>instance</resourceType><key>{}</key><value>{}</value></item>",
                xml_escape(id),
                xml_escape(key),
                xml_escape(value),
            )
        })
        .collect();
    let next = skipped.saturating_add(page_size);
    let next_token = if next < tags.len() {
        format!("<nextToken>{next}</nextToken>")
    } else {
        String::new()
    };
    Ok(Protocol::Ec2Query.answer(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeTagsResponse \
         xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>local</requestId><tagSet>{items}</tagSet>\
         {next_token}</DescribeTagsResponse>"
    )))
}

/// One filter: any of its values will do.
struct Filter<'a> {
    name: FilterName,
    values: Vec<&'a str>,
}

#[derive(Clone, Copy)]
enum FilterName {
    ResourceId,
    ResourceType,
    Key,
    Value,
}

impl Filter<'_> {
    fn admits(&self, (id, key, value): (&str, &str, &str)) -> bool {
        let tested = match self.name {
            FilterName::ResourceId => id,
            FilterName::ResourceType => "instance",
            FilterName::Key => key,
            FilterName::Value => value,
        };
        self.values.contains(&tested)
    }
}

/// `Filter.1.Name`, `Filter.1.Value.1`, `Filter.1.Value.2`, `Filter.2.Name` …
fn filters(form: &Form) -> Result<Vec<Filter<'_>>, ServiceError> {
    let mut filters = Vec::new();
    while let Some(name) = form.get(&format!("Filter.{}.Name", filters.len() + 1)) {
        let name = match name {
            "resource-id" => FilterName::ResourceId,
            "resource-type" => FilterName::ResourceType,
            "key" => FilterName::Key,
            "value" => FilterName::Value,
            _ => return Err(invalid(format!("The filter '{name}' is invalid"))),
        };
        let mut values = Vec::new();
        while let Some(value) = form.get(&format!(
            "Filter.{}.Value.{}",
            filters.len() + 1,
            values.len() + 1
        )) {
            values.push(value);
        }
        filters.push(Filter { name, values });
    }
    Ok(filters)
}

fn invalid(message: String) -> ServiceError {
    ServiceError::caller("InvalidParameterValue", message)
}
