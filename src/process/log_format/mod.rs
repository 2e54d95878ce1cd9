//! The formats that `LOGTOJSON` knows by name: a pattern and its fields each.
//!
//! The patterns were derived from what the reference accepts and refuses (`tests/golden/records/log_*`). They are
//! Java's: `\d` and `\w` are ASCII, and `.` stops at a line end, so a record with `\r` or a second line is refused
//! where a `.*` would have to pass it.
//!
//! They are the definition, and what people are shown; records are matched by `scan`, which does the same faster.

mod scan;

use crate::config::LogFormat;

pub use scan::matches;

/// `host ident authuser [datetime] "request" response bytes`. What follows is passed over, so this reads combined
/// logs too; bytes need not end at a space (`1.5` is read as `1`).
macro_rules! common_apache_log {
    () => {
        concat!(
            r"([\w.-]+) ([\w.-]+) ([\w.-]+)",
            r" \[(\d{1,2}/[A-Za-z]{3}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4})\]",
            r#" "([^"]+)" (\d+|-) (\d+|-)"#,
        )
    };
}

/// ` hostname program[processid]: message`, the process id being optional and the message possibly empty.
macro_rules! after_syslog_timestamp {
    () => {
        r" ([\w.-]+) ([\w./%-]+)(?:\[(\d+)\])?: (.*)"
    };
}

const COMMON_APACHE_LOG: &str = concat!(common_apache_log!(), ".*");

/// The common format, then `"referer" "agent"`. A `\"` ends a value.
const COMBINED_APACHE_LOG: &str = concat!(common_apache_log!(), r#" "([^"]+)" "([^"]+)".*"#);

/// `[timestamp] [module:severity] [pid N:tid N] [client ADDRESS] message`; module and thread are optional.
const APACHE_ERROR_LOG: &str = concat!(
    r"\[([A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2} \d{2}:\d{2}:\d{2}(?:\.\d+)? \d{4})\]",
    r" \[(?:(\w+):)?(\w+)\]",
    r" \[pid (\d+)(?::tid (\d+))?\]",
    r" \[client ([\w.-]+(?::\d+)?)\]",
    r" (.*)",
);

/// A timestamp of RFC 3164. Unlike the others it must be possible: `Mar 32` and `25:61:61` are refused.
const SYSLOG: &str = concat!(
    r"((?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:tember)?",
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)",
    r" +(?:0?[1-9]|[12]\d|3[01])",
    r" (?:[01]?\d|2[0-3]):[0-5]\d:(?:[0-5]?\d|60)(?:[:.,]\d+)?)",
    after_syslog_timestamp!(),
);

/// A timestamp of RFC 3339, upper case, with a zone; it need not be possible.
const RFC3339_SYSLOG: &str = concat!(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2}))",
    after_syslog_timestamp!(),
);

const COMMON_APACHE_FIELDS: &[&str] = &[
    "host", "ident", "authuser", "datetime", "request", "response", "bytes",
];
const COMBINED_APACHE_FIELDS: &[&str] = &[
    "host", "ident", "authuser", "datetime", "request", "response", "bytes", "referer", "agent",
];
const APACHE_ERROR_FIELDS: &[&str] = &[
    "timestamp",
    "module",
    "severity",
    "processid",
    "threadid",
    "client",
    "message",
];
const SYSLOG_FIELDS: &[&str] = &["timestamp", "hostname", "program", "processid", "message"];

impl LogFormat {
    /// The names of its fields, one for each group of its pattern; `customFieldNames` needs as many.
    pub fn field_names(self) -> &'static [&'static str] {
        match self {
            LogFormat::CommonApacheLog => COMMON_APACHE_FIELDS,
            LogFormat::CombinedApacheLog => COMBINED_APACHE_FIELDS,
            LogFormat::ApacheErrorLog => APACHE_ERROR_FIELDS,
            LogFormat::Syslog | LogFormat::Rfc3339Syslog => SYSLOG_FIELDS,
        }
    }

    /// The Java pattern that a record must match as a whole.
    pub fn pattern(self) -> &'static str {
        match self {
            LogFormat::CommonApacheLog => COMMON_APACHE_LOG,
            LogFormat::CombinedApacheLog => COMBINED_APACHE_LOG,
            LogFormat::ApacheErrorLog => APACHE_ERROR_LOG,
            LogFormat::Syslog => SYSLOG,
            LogFormat::Rfc3339Syslog => RFC3339_SYSLOG,
        }
    }

    /// Whether a value `-` is null, as Apache means it; the same under a `matchPattern` of the user's own.
    pub fn dash_is_null(self) -> bool {
        match self {
            LogFormat::CommonApacheLog
            | LogFormat::CombinedApacheLog
            | LogFormat::ApacheErrorLog => true,
            LogFormat::Syslog | LogFormat::Rfc3339Syslog => false,
        }
    }
}
