//! An object whose keys are known beforehand, laid out compactly or prettily.

use crate::config::JsonFormat;

use super::escape;

/// The bytes round the values of an object: keys are escaped once, not per record.
#[derive(Debug, Clone)]
pub struct Layout {
    fields: Vec<Field>,
    /// What follows the last value, the record's `\n` included; for an object without keys all of it.
    end: &'static [u8],
    /// What stands before the first value, between two, and after the last one, in bytes: an object's size without
    /// its values.
    frame_bytes: usize,
}

/// One key and where its value comes from.
#[derive(Debug, Clone)]
pub struct Field {
    /// Everything up to the value: `{"name":` or `,"name":`.
    pub lead: Box<[u8]>,
    /// The place, among the names given, that the value is taken from.
    pub source: usize,
}

impl Layout {
    /// A name given twice keeps its first place and takes the value of its last one.
    pub fn new(names: &[impl AsRef<str>], format: JsonFormat) -> Layout {
        let (first, between, colon, end, empty): (&[u8], &[u8], &[u8], _, _) = match format {
            JsonFormat::Compact => (b"{", b",", b":", &b"}\n"[..], &b"{}\n"[..]),
            JsonFormat::PrettyPrint => (b"{\n  ", b",\n  ", b" : ", b"\n}\n", b"{ }\n"),
        };
        let mut fields: Vec<Field> = Vec::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            let name = name.as_ref();
            if names[..place]
                .iter()
                .any(|earlier| earlier.as_ref() == name)
            {
                continue;
            }
            let last = names.iter().rposition(|later| later.as_ref() == name);
            let mut lead = if fields.is_empty() {
                first.to_vec()
            } else {
                between.to_vec()
            };
            escape::append_string(name, &mut lead);
            lead.extend_from_slice(colon);
            fields.push(Field {
                lead: lead.into(),
                source: last.unwrap_or(place),
            });
        }
        let end = if fields.is_empty() { empty } else { end };
        let frame_bytes = fields.iter().map(|field| field.lead.len()).sum::<usize>() + end.len();
        Layout {
            fields,
            end,
            frame_bytes,
        }
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub fn end(&self) -> &'static [u8] {
        self.end
    }

    /// Bytes of the object without its values.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_given_twice_keeps_its_first_place_and_takes_its_last_value() {
        let rows = [
            (
                &["a", "b", "a"][..],
                JsonFormat::Compact,
                "{\"a\":2,\"b\":1}\n",
            ),
            (&["a", "a", "a"], JsonFormat::Compact, "{\"a\":2}\n"),
            (
                &["q\"t", ""],
                JsonFormat::Compact,
                "{\"q\\\"t\":0,\"\":1}\n",
            ),
            (
                &["a", "b"],
                JsonFormat::PrettyPrint,
                "{\n  \"a\" : 0,\n  \"b\" : 1\n}\n",
            ),
            (&[], JsonFormat::Compact, "{}\n"),
            (&[], JsonFormat::PrettyPrint, "{ }\n"),
        ];
        for (names, format, expected) in rows {
            let layout = Layout::new(names, format);
            let mut out = Vec::new();
            for field in layout.fields() {
                out.extend_from_slice(&field.lead);
                out.extend_from_slice(field.source.to_string().as_bytes());
            }
            out.extend_from_slice(layout.end());
            assert_eq!(str::from_utf8(&out), Ok(expected));
            assert_eq!(out.len(), layout.frame_bytes() + layout.fields().len());
        }
    }
}
