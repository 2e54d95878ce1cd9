//! What a configuration says, to be compared with what another one says.

use std::fmt::{self, Write as _};

use super::json::{Object, Value};

/// A value of agent.json, whatever its lines, its spaces and the order of its keys. It may hold a secret and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Written(Box<str>);

impl Written {
    /// What this value says.
    pub fn of(value: &Value) -> Written {
        let mut text = String::new();
        write(value, &mut text);
        Written(text.into())
    }

    /// What this object says.
    pub fn of_object(object: &Object) -> Written {
        let mut text = String::new();
        write_object(object, &mut text);
        Written(text.into())
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written(…)")
    }
}

/// Texts as Rust quotes them, so that no two values are written alike.
fn write(value: &Value, out: &mut String) {
    // Writing to a String can't fail.
    let _ = match value {
        Value::Null => write!(out, "null"),
        Value::Bool(is) => write!(out, "{is}"),
        Value::Number(text) => write!(out, "{text}"),
        Value::Text(text) => write!(out, "{text:?}"),
        Value::List(items) => {
            out.push('[');
            for item in items {
                write(&item.value, out);
                out.push(',');
            }
            write!(out, "]")
        }
        Value::Object(object) => {
            write_object(object, out);
            Ok(())
        }
    };
}

fn write_object(object: &Object, out: &mut String) {
    let mut members: Vec<_> = object.members.iter().collect();
    members.sort_by(|one, other| one.name.cmp(&other.name));
    out.push('{');
    for member in members {
        // Writing to a String can't fail.
        let _ = write!(out, "{:?}:", member.name);
        write(&member.node.value, out);
        out.push(',');
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{accepted, file_with};

    fn written(flow: &str) -> super::Written {
        accepted(&file_with("", flow)).config.flows[0]
            .written
            .clone()
    }

    #[test]
    fn what_says_the_same_is_equal_however_it_is_laid_out() {
        let one = written(r#""kinesisStream": "s", "exclude": ["a", "b"]"#);
        for (other, is_same) in [
            (
                "\n\"exclude\" : [ \"a\",\n \"b\"], /* */ \"kinesisStream\": \"s\"",
                true,
            ),
            (r#""kinesisStream": "s", "exclude": ["b", "a"]"#, false),
            (r#""kinesisStream": "s", "exclude": ["a\", \"b"]"#, false),
            (r#""kinesisStream": "s""#, false),
        ] {
            assert_eq!(one == written(other), is_same, "{other}");
        }
        assert_eq!(format!("{one:?}"), "Written(…)");
    }

    #[test]
    fn keys_of_the_agent_that_changed_are_named() {
        let config = |top: &str| accepted(&file_with(top, r#""kinesisStream": "s""#)).config;
        let one =
            config(r#""maxConnections": 60, "awsAccessKeyId": "a", "awsSecretAccessKey": "b""#);
        let other =
            config(r#""awsSecretAccessKey": "c", "awsAccessKeyId": "a", "useHttpGzip": false"#);
        let expected = ["awsSecretAccessKey", "maxConnections", "useHttpGzip"];
        assert_eq!(one.keys_changed(&other), expected);
        assert!(one.keys_changed(&one).is_empty());
    }
}
