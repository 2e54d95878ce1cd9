//! From files to a [`Config`], or to everything that keeps it from being one.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::environment::Environment;
use super::flows;
use super::json::{self, Document, Member, Value};
use super::keys::Place;
use super::limits::{AGENT_D_FILES_MAX, FILE_BYTES_MAX};
use super::raw::{Section, value_shown};
use super::report::{Finding, Refused, Report, Severity};
use super::settings::Settings;
use super::{Config, Flow, FlowId, Written};

/// A configuration to start with.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// Where each flow of [`Config::flows`] is written, in their order.
    pub places: Vec<FlowPlace>,
    /// Mistakes, warnings and notes; no errors.
    pub report: Report,
}

/// Where a flow is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowPlace {
    pub file: Arc<Path>,
    /// From 1.
    pub line: usize,
    /// `flows[0]`
    pub path: String,
}

impl FlowPlace {
    /// The key of its files, with its whole path.
    pub fn pattern_key(&self) -> String {
        format!("{}.filePattern", self.path)
    }
}

impl Loaded {
    /// How many flows there are, for `Found N configured flow(s)`.
    pub fn n_flows(&self) -> usize {
        self.config.flows.len()
    }
}

/// Reads the main file and every file of `agent_d`, in the order of their names.
///
/// Of agent.d only `flows` count; a file there that can't be read or isn't JSON is left out with a warning. The
/// directory need not exist.
///
/// # Errors
///
/// [`Refused::Unreadable`] if the main file can't be read; else [`Refused::Invalid`] with the findings of all files, or
/// [`Refused::NoFlows`].
pub fn load(main: &Path, agent_d: Option<&Path>, env: &Environment) -> Result<Loaded, Refused> {
    let unreadable = |source| Refused::Unreadable {
        path: main.to_owned(),
        source,
    };
    let mut file = File::open(main).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let bytes = read_bounded(&mut file).map_err(unreadable)?;
    let mut loader = Loader::new(env, main);
    let settings = loader.main_file(&bytes, Some(mode));
    if let Some(directory) = agent_d {
        loader.agent_d(directory);
    }
    loader.finish(settings)
}

/// Reads one file's text; `name` stands for the file in findings.
///
/// # Errors
///
/// [`Refused::Invalid`] or [`Refused::NoFlows`].
pub fn load_text(text: &[u8], name: &str, env: &Environment) -> Result<Loaded, Refused> {
    let mut loader = Loader::new(env, Path::new(name));
    let settings = loader.main_file(text, None);
    loader.finish(settings)
}

/// The content of a file, up to one byte more than is legal.
fn read_bounded(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

struct Loader<'e> {
    env: &'e Environment,
    /// In the order they are read; the first is the main file.
    files: Vec<Arc<Path>>,
    report: Report,
    flows: Vec<Arc<Flow>>,
    /// Where each flow stands, in their order.
    places: Vec<FlowPlace>,
    /// What the main file says of the agent as a whole.
    written: BTreeMap<String, Written>,
    /// Which flow has an id.
    by_id: HashMap<FlowId, usize>,
}

impl<'e> Loader<'e> {
    fn new(env: &'e Environment, main: &Path) -> Self {
        Loader {
            env,
            files: vec![Arc::from(main)],
            report: Report::default(),
            flows: Vec::new(),
            places: Vec::new(),
            written: BTreeMap::new(),
            by_id: HashMap::new(),
        }
    }

    /// Reads the main file; `None` if it isn't a JSON object.
    fn main_file(&mut self, bytes: &[u8], mode: Option<u32>) -> Option<Settings> {
        let env = self.env;
        let file = Arc::clone(&self.files[0]);
        let document = self.document(&file, bytes, Severity::Error)?;
        let mut top = self.top_section(&file, &document, Severity::Error)?;
        let settings = Settings::read(&mut top, env);
        if let Some(mode) = mode {
            warn_if_secret_is_readable(&mut top, mode);
        }
        let of_agent = top
            .object
            .members
            .iter()
            .filter(|member| member.name != "flows");
        let written = |member: &Member| (member.name.clone(), Written::of(&member.node.value));
        let written = of_agent.map(written).collect();
        self.written = written;
        self.flows(&file, &document);
        Some(settings)
    }

    fn agent_d(&mut self, directory: &Path) {
        let mut paths = match fs::read_dir(directory).and_then(|entries| {
            entries
                .take(AGENT_D_FILES_MAX + 1)
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<io::Result<Vec<_>>>()
        }) {
            Ok(paths) => paths,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let directory = Arc::from(directory);
                self.files.push(Arc::clone(&directory));
                self.skip(
                    &directory,
                    format!("the directory can't be read, so its flows are left out: {error}"),
                );
                return;
            }
        };
        if paths.len() > AGENT_D_FILES_MAX {
            self.refuse_crowd(directory);
            return;
        }
        paths.sort();
        for path in paths {
            let file: Arc<Path> = Arc::from(path);
            self.files.push(Arc::clone(&file));
            match read_regular(&file) {
                Ok(Some(bytes)) => self.agent_d_file(&file, &bytes),
                Ok(None) => {}
                Err(error) => self.skip(
                    &file,
                    format!("can't be read, so its flows are left out: {error}"),
                ),
            }
        }
    }

    fn agent_d_file(&mut self, file: &Arc<Path>, bytes: &[u8]) {
        let main = self.files[0].display().to_string();
        let Some(document) = self.document(file, bytes, Severity::Mistake) else {
            return;
        };
        let Some(mut top) = self.top_section(file, &document, Severity::Mistake) else {
            return;
        };
        for member in &top.object.members {
            if member.name != "flows" {
                let remedy = format!("move it to {main}, or remove it");
                top.warn(
                    &member.name,
                    "ignored: of the files in agent.d only flows are read",
                    remedy,
                );
            }
        }
        if top.node("flows").is_none() {
            top.warn(
                "flows",
                "missing, so the file has no effect",
                "add flows, or remove the file",
            );
        }
        self.flows(file, &document);
    }

    /// An agent.d with more files than anybody means. To leave out some of them would leave out logs.
    fn refuse_crowd(&mut self, directory: &Path) {
        let directory = Arc::from(directory);
        self.files.push(Arc::clone(&directory));
        let problem = format!("the directory holds more than {AGENT_D_FILES_MAX} files");
        let remedy = "write the flows into fewer files, and remove those that are no configuration";
        let finding = Finding::new(&directory, 1, Severity::Error, "", problem, remedy);
        self.report.push(finding);
    }

    /// A file or directory of agent.d that is left out.
    fn skip(&mut self, file: &Arc<Path>, problem: String) {
        let remedy = "let the agent's user read it, or remove it";
        self.report.push(Finding::new(
            file,
            1,
            Severity::Mistake,
            "",
            problem,
            remedy,
        ));
    }

    /// The file as JSON. If it isn't, that is the one finding of the file, of the given severity.
    fn document(&mut self, file: &Arc<Path>, bytes: &[u8], severity: Severity) -> Option<Document> {
        let left_out = if severity == Severity::Error {
            ""
        } else {
            ", so the file is left out"
        };
        if bytes.len() > FILE_BYTES_MAX {
            let problem = format!("the file is longer than {FILE_BYTES_MAX} bytes{left_out}");
            self.report.push(Finding::new(
                file,
                1,
                severity,
                "",
                problem,
                "split it into files of agent.d",
            ));
            return None;
        }
        let document = match json::read(bytes) {
            Ok(document) => document,
            Err(error) => {
                let problem = format!("{}{left_out}", error.problem);
                let finding = Finding::new(
                    file,
                    error.line,
                    severity,
                    &error.path,
                    problem,
                    &error.remedy,
                );
                self.report.push(finding);
                return None;
            }
        };
        for repeat in &document.repeats {
            let (first, last) = (repeat.first_line, repeat.last_line);
            let problem =
                format!("the key is given twice, on lines {first} and {last}; the last wins");
            self.report.push(Finding::new(
                file,
                last,
                Severity::Warning,
                &repeat.path,
                problem,
                "remove one of them",
            ));
        }
        if let Some(line) = document.trailing_line {
            let problem = "text after the closing brace is ignored";
            let remedy = "remove it, or the brace that closes too early";
            self.report.push(Finding::new(
                file,
                line,
                Severity::Warning,
                "",
                problem,
                remedy,
            ));
        }
        Some(document)
    }

    fn top_section<'doc, 'r>(
        &'r mut self,
        file: &'doc Arc<Path>,
        document: &'doc Document,
        severity: Severity,
    ) -> Option<Section<'doc, 'r>> {
        let line = document.root.line;
        let Value::Object(object) = &document.root.value else {
            let problem = "the file doesn't hold an object";
            let remedy = "write an object: { \"flows\": [ … ] }";
            self.report
                .push(Finding::new(file, line, severity, "", problem, remedy));
            return None;
        };
        Some(Section {
            file,
            path: String::new(),
            line,
            object,
            place: Place::Top,
            report: &mut self.report,
        })
    }

    /// Adds the flows of a file.
    fn flows(&mut self, file: &Arc<Path>, document: &Document) {
        let Some(mut top) = self.top_section(file, document, Severity::Error) else {
            return;
        };
        let Some(node) = top.node("flows") else {
            return;
        };
        let Value::List(items) = &node.value else {
            top.error(
                "flows",
                "not a list",
                "write a list of objects: [{ \"filePattern\": … }]",
            );
            return;
        };
        for (n, item) in items.iter().enumerate() {
            let path = format!("flows[{n}]");
            let Value::Object(object) = &item.value else {
                let problem = "not an object";
                let remedy = "write an object: { \"filePattern\": …, \"kinesisStream\": … }";
                let finding =
                    Finding::new(file, item.line, Severity::Error, &path, problem, remedy);
                self.report.push(Finding {
                    value: value_shown("flows", &item.value),
                    ..finding
                });
                continue;
            };
            let report = &mut self.report;
            let mut section = Section {
                file,
                path,
                line: item.line,
                object,
                place: Place::KinesisFlow,
                report,
            };
            let Some(flow) = flows::read(&mut section, &self.env.cwd) else {
                continue;
            };
            let path = section.path;
            self.add(flow, file, item.line, &path);
        }
    }

    /// Adds a flow, unless there is one with its id.
    fn add(&mut self, flow: Flow, file: &Arc<Path>, line: usize, path: &str) {
        if let Some(other) = self.by_id.get(&flow.id).map(|n| &self.places[*n]) {
            let problem = format!(
                "Duplicate flow: {}, as in {}:{}",
                flow.id,
                other.file.display(),
                other.line
            );
            let remedy = "remove one of the two, or give it another filePattern or stream";
            self.report.push(Finding::new(
                file,
                line,
                Severity::Error,
                path,
                problem,
                remedy,
            ));
            return;
        }
        self.by_id.insert(flow.id.clone(), self.flows.len());
        self.places.push(FlowPlace {
            file: Arc::clone(file),
            line,
            path: path.to_owned(),
        });
        self.flows.push(Arc::new(flow));
    }

    fn finish(mut self, settings: Option<Settings>) -> Result<Loaded, Refused> {
        self.report.sort(&self.files);
        let Some(settings) = settings.filter(|_| !self.report.has_errors()) else {
            return Err(Refused::Invalid(self.report));
        };
        if self.flows.is_empty() {
            return Err(Refused::NoFlows {
                file: self.files[0].to_path_buf(),
                report: self.report,
            });
        }
        let Settings {
            aws,
            publish,
            checkpoints,
            dead_letters,
            cloudwatch,
            log,
            listening,
            shutdown_timeout,
        } = settings;
        let config = Config {
            flows: self.flows,
            aws,
            publish,
            checkpoints,
            dead_letters,
            cloudwatch,
            log,
            listening,
            shutdown_timeout,
            written: self.written,
        };
        Ok(Loaded {
            config,
            places: self.places,
            report: self.report,
        })
    }
}

/// The content of a regular file; `None` for anything else, such as a directory, or a pipe that would block.
fn read_regular(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    read_bounded(&mut File::open(path)?).map(Some)
}

fn warn_if_secret_is_readable(top: &mut Section, mode: u32) {
    const OTHERS_READ: u32 = 0o004;
    for key in ["awsSecretAccessKey", "metrics.prometheus.token"] {
        let holds_secret = top
            .object
            .get(key)
            .is_some_and(|member| match &member.node.value {
                Value::Text(text) => !text.is_empty(),
                _ => false,
            });
        if holds_secret && mode & OTHERS_READ != 0 {
            let remedy = format!("run: chmod o-r {}", top.file.display());
            top.warn(key, "every user of this host can read the secret", remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::super::keys::KEYS;
    use super::super::test_support::{environment, file_with, summary};
    use super::*;

    /// A folder with `agent.json` and, in `agent.d`, the given files.
    fn folder(main: &str, agent_d: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("agent.json"), main).expect("written");
        fs::create_dir(folder.path().join("agent.d")).expect("created");
        for (name, text) in agent_d {
            fs::write(folder.path().join("agent.d").join(name), text).expect("written");
        }
        folder
    }

    fn load_folder(folder: &tempfile::TempDir) -> Result<Loaded, Refused> {
        let path = folder.path();
        load(
            &path.join("agent.json"),
            Some(&path.join("agent.d")),
            &environment(),
        )
    }

    fn ids(loaded: &Loaded) -> Vec<String> {
        loaded
            .config
            .flows
            .iter()
            .map(|flow| flow.id.to_string())
            .collect()
    }

    fn flow(stream: &str) -> String {
        file_with("", &format!("\"kinesisStream\": \"{stream}\""))
    }

    #[test]
    fn flows_of_agent_d_follow_those_of_the_main_file_in_the_order_of_names() {
        let folder = folder(
            &flow("main"),
            &[
                ("b.json", &flow("b")),
                ("a", &flow("a")),
                (".c~", &flow("c")),
            ],
        );
        let loaded = load_folder(&folder).expect("accepted");
        assert_eq!(
            ids(&loaded),
            ["main", "c", "a", "b"].map(|stream| format!("kinesis:{stream}:/logs/app.log*"))
        );
        assert!(loaded.report.findings().is_empty(), "{}", loaded.report);
    }

    #[test]
    fn agent_d_alone_may_hold_flows_and_need_not_exist() {
        let folder = folder("{}", &[("a", &flow("a"))]);
        assert_eq!(load_folder(&folder).expect("accepted").n_flows(), 1);
        let main = folder.path().join("agent.json");
        for agent_d in [None, Some(folder.path().join("none"))] {
            assert!(matches!(
                load(&main, agent_d.as_deref(), &environment()),
                Err(Refused::NoFlows { .. })
            ));
        }
    }

    #[test]
    fn what_is_no_json_in_agent_d_is_left_out_with_a_warning() {
        let folder = folder(
            &flow("main"),
            &[
                ("a", "{"),
                ("b", "[]"),
                ("c", ""),
                ("d", "{}"),
                (
                    "e",
                    &file_with("\"log.level\": 1", "\"kinesisStream\": \"e\""),
                ),
            ],
        );
        fs::create_dir(folder.path().join("agent.d/sub")).expect("created");
        symlink("/nowhere", folder.path().join("agent.d/z")).expect("linked");
        let loaded = load_folder(&folder).expect("accepted");
        assert_eq!(loaded.n_flows(), 2);
        let lines = summary(&loaded.report);
        for (line, expected) in lines.iter().zip([
            "mistake (top level): the file ends where a key in double quotes should be, so the file is left out",
            "mistake (top level): the file doesn't hold an object",
            "mistake (top level): the file is empty, so the file is left out",
            "mistake (top level): can't be read",
            "warning flows: missing",
            "warning log.level: ignored",
        ]) {
            assert!(line.starts_with(expected), "{lines:#?}");
        }
        assert_eq!(lines.len(), 6, "{lines:#?}");
    }

    #[test]
    fn an_agent_d_that_is_no_directory_is_a_warning() {
        let folder = folder(&flow("main"), &[]);
        let main = folder.path().join("agent.json");
        let loaded = load(&main, Some(&main), &environment()).expect("accepted");
        assert!(
            matches!(&summary(&loaded.report)[..], [one] if one.contains("the directory can't be read"))
        );
    }

    #[test]
    fn an_agent_d_of_too_many_files_is_refused() {
        let folder = folder(&flow("main"), &[]);
        let agent_d = folder.path().join("agent.d");
        for n in 0..AGENT_D_FILES_MAX {
            symlink("/dev/null", agent_d.join(n.to_string())).expect("linked");
        }
        assert_eq!(load_folder(&folder).expect("accepted").n_flows(), 1);
        symlink("/dev/null", agent_d.join("one more")).expect("linked");
        let Err(Refused::Invalid(report)) = load_folder(&folder) else {
            panic!("refused")
        };
        let (text, agent_d) = (report.to_string(), agent_d.display());
        let expected =
            format!("{agent_d}:1: (top level): the directory holds more than 10000 files");
        assert!(text.starts_with(&expected), "{text}");
        assert!(text.contains("into fewer files"), "{text}");
    }

    #[test]
    fn errors_of_all_files_are_told_at_once_errors_first_in_the_order_of_files() {
        let folder = folder(
            "{\"nonsense\": 1,\n\"maxConnections\": 0}",
            &[
                ("a", "{\"flows\": {}}"),
                ("b", "{\"flows\": [\n{\"kinesisStream\": \"s\"},\n5]}"),
                ("c", "{"),
            ],
        );
        let Err(Refused::Invalid(report)) = load_folder(&folder) else {
            panic!("refused")
        };
        let places: Vec<_> = report
            .findings()
            .iter()
            .map(|finding| {
                let file = finding
                    .file
                    .file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned();
                format!(
                    "{} {file}:{} {}",
                    finding.severity, finding.line, finding.key
                )
            })
            .collect();
        assert_eq!(
            places,
            [
                "error agent.json:2 maxConnections",
                "error a:1 flows",
                "error b:2 flows[0].filePattern",
                "error b:3 flows[1]",
                "mistake c:1 (top level)",
                "warning agent.json:1 nonsense",
            ]
        );
    }

    #[test]
    fn a_main_file_that_is_no_json_does_not_hide_mistakes_in_agent_d() {
        let folder = folder("{", &[("a", "{\"flows\": 1}")]);
        let Err(Refused::Invalid(report)) = load_folder(&folder) else {
            panic!("refused")
        };
        assert_eq!(report.of(Severity::Error).count(), 2, "{report}");
    }

    #[test]
    fn a_flow_given_twice_is_refused_with_both_places() {
        let folder = folder(&flow("s"), &[("a", &format!("\n{}", flow("s")))]);
        let Err(Refused::Invalid(report)) = load_folder(&folder) else {
            panic!("refused")
        };
        let text = report.to_string();
        let a = folder.path().join("agent.d/a");
        let main = folder.path().join("agent.json");
        assert!(
            text.starts_with(&format!(
                "{}:2: flows[0]: Duplicate flow: kinesis:s:/logs/app.log*",
                a.display()
            )),
            "{text}"
        );
        assert!(text.contains(&format!("{}:1", main.display())), "{text}");
    }

    #[test]
    fn no_flow_is_a_state_of_its_own_in_one_line() {
        for text in [
            "{}",
            "{\"flows\": []}",
            "{\"flows\": null}",
            "{\"flow\": []}",
        ] {
            let refused =
                load_text(text.as_bytes(), "agent.json", &environment()).expect_err("no flows");
            assert!(matches!(refused, Refused::NoFlows { .. }), "{text}");
            assert!(!refused.to_string().contains('\n'));
        }
        let Err(Refused::NoFlows { report, .. }) =
            load_text(b"{\"flow\": []}", "agent.json", &environment())
        else {
            panic!("no flows")
        };
        assert!(
            report.to_string().contains("did you mean flows?"),
            "{report}"
        );
    }

    #[test]
    fn a_main_file_that_can_not_be_read_is_told_with_a_remedy() {
        let folder = folder("{}", &[]);
        for path in [folder.path().join("none"), folder.path().to_owned()] {
            let refused = load(&path, None, &environment()).expect_err("unreadable");
            assert!(matches!(refused, Refused::Unreadable { .. }));
            assert!(
                refused.to_string().contains("-c FILE")
                    && refused.to_string().contains(&*path.to_string_lossy()),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_unread() {
        let text = " ".repeat(FILE_BYTES_MAX + 1);
        let Err(Refused::Invalid(report)) =
            load_text(text.as_bytes(), "agent.json", &environment())
        else {
            panic!("refused")
        };
        assert!(report.to_string().contains("longer than"), "{report}");
    }

    #[test]
    fn a_secret_that_everyone_can_read_is_a_warning_with_the_command() {
        let secret = "\"awsAccessKeyId\": \"A\", \"awsSecretAccessKey\": \"B\"";
        let folder = folder(&file_with(secret, "\"kinesisStream\": \"s\""), &[]);
        let main = folder.path().join("agent.json");
        for (mode, n_warnings) in [(0o600, 0), (0o640, 0), (0o644, 1), (0o604, 1)] {
            fs::set_permissions(&main, fs::Permissions::from_mode(mode)).expect("changed");
            let report = load_folder(&folder).expect("accepted").report;
            assert_eq!(report.findings().len(), n_warnings, "{mode:o}: {report}");
            assert!(
                n_warnings == 0
                    || report
                        .to_string()
                        .ends_with(&format!("run: chmod o-r {}", main.display()))
            );
        }
    }

    #[test]
    fn a_plain_configuration_has_nothing_to_complain_about() {
        let text = r#"{
            "cloudwatch.emitMetrics": true, "kinesis.endpoint": "", "firehose.endpoint": "",
            "flows": [
                {"filePattern": "/var/log/web/*.log", "kinesisStream": "web", "partitionKeyOption": "RANDOM"},
                {"filePattern": "/var/log/web/*.log", "deliveryStream": "web-archive"}
            ]
        }"#;
        let loaded = load_text(text.as_bytes(), "agent.json", &environment()).expect("accepted");
        assert_eq!(
            ids(&loaded),
            [
                "kinesis:web:/var/log/web/*.log",
                "fh:web-archive:/var/log/web/*.log"
            ]
        );
        assert!(loaded.report.findings().is_empty(), "{}", loaded.report);
    }

    /// Members whose names are known keys and whose values are likely and unlikely ones.
    fn members() -> impl Strategy<Value = String> {
        let name = prop::sample::select(KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
        let value = prop::sample::select(vec![
            "0",
            "1",
            "-1",
            "500",
            "1e3",
            "0.5",
            "1e999",
            "9223372036854775807",
            "-9223372036854775809",
            "null",
            "true",
            "[]",
            "[[]]",
            "{}",
            "[{}]",
            "[\"a\", 1]",
            "\"\"",
            "\"a\"",
            "\"1\"",
            "\" \"",
            "\"(\"",
            "\"(a)*\"",
            "\"/l/[a\"",
            "\"/l/{a,b}*\"",
            "\"~/../a\"",
            "\"http://[::1]:1/\"",
            "\"CSVTOJSON\"",
            "\"SYSLOG\"",
            "\"\\u0000\\ud83d\\ude00\"",
        ]);
        prop::collection::vec((name, value), 0..6).prop_map(|members| {
            let members = members
                .into_iter()
                .map(|(name, value)| format!("\"{name}\": {value}"));
            members.collect::<Vec<_>>().join(", ")
        })
    }

    proptest! {
        #[test]
        fn no_values_make_it_panic_and_what_is_refused_has_an_error(top in members(), flow in members(), option in members()) {
            let option = format!("{{\"optionName\": \"LOGTOJSON\"{}{option}}}", if option.is_empty() { "" } else { ", " });
            let comma = if flow.is_empty() { "" } else { ", " };
            let flows = format!("\"flows\": [{{{flow}{comma}\"dataProcessingOptions\": [{option}]}}]");
            let text = format!("{{{top}{}{flows}}}", if top.is_empty() { "" } else { ", " });
            match load_text(text.as_bytes(), "agent.json", &environment()) {
                Ok(loaded) => prop_assert!(!loaded.report.has_errors() && loaded.n_flows() == 1, "{}", text),
                Err(Refused::Invalid(report)) => prop_assert!(report.has_errors(), "{}", text),
                Err(other) => prop_assert!(false, "{}: {}", text, other),
            }
        }
    }
}
