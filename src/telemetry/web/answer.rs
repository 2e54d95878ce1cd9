//! From a request to its answer.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::access::Access;
use super::page;
use super::prometheus::{FILE_SERIES_MAX, Prometheus};
use crate::telemetry::status::{FilesShown, FlowState, Sampler, Status};
use crate::telemetry::troubles::Concern;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
/// The text format that Prometheus reads.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// From a TCP port: anybody.
    Port,
    /// From the unix socket: its owner.
    Socket,
}

/// What a request says that matters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub host: Option<&'a str>,
    pub authorization: Option<&'a str>,
    /// It announces a body.
    pub has_body: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
    /// The content security policy, for the page.
    pub policy: Option<&'static str>,
}

impl Answer {
    fn new(status: u16, content_type: &'static str, body: impl Into<String>) -> Answer {
        Answer {
            status,
            content_type,
            body: body.into(),
            policy: None,
        }
    }

    fn refusal(status: u16, why: &str) -> Answer {
        Answer::new(status, TEXT, format!("{why}\n"))
    }
}

/// Everything that there is to ask.
pub struct Web {
    sampler: Arc<Sampler>,
    prometheus: Option<Prometheus>,
    access: Access,
}

impl Web {
    /// Without `prometheus` there are no metrics.
    pub fn new(sampler: Arc<Sampler>, prometheus: Option<Prometheus>, access: Access) -> Web {
        Web {
            sampler,
            prometheus,
            access,
        }
    }

    /// The metrics, for their upkeep.
    pub fn prometheus(&self) -> Option<&Prometheus> {
        self.prometheus.as_ref()
    }

    /// The answer to a request at this moment.
    pub fn answer(&self, asked: &Question, door: Door) -> Answer {
        if door == Door::Port && !self.access.lets_host(asked.host) {
            return Answer::refusal(
                403,
                "the Host header is neither an address nor localhost; list its name in metrics.prometheus.hosts",
            );
        }
        if !matches!(asked.method, "GET" | "HEAD") {
            return Answer::refusal(405, "there is nothing to be changed here; use GET");
        }
        if asked.has_body {
            return Answer::refusal(413, "a request has no body here");
        }
        let may_see = door == Door::Socket || self.access.lets_token(asked.authorization);
        let needs_token = || Answer::refusal(401, "send the token: Authorization: Bearer TOKEN");
        match asked.path {
            "/" => Answer {
                policy: Some(page::policy()),
                ..Answer::new(200, HTML, page::HTML)
            },
            "/healthz" => self.health(Instant::now()),
            "/readyz" => self.readiness(may_see),
            "/status" if may_see => self.status(asked.query),
            "/metrics" if may_see => self.metrics(),
            "/status" | "/metrics" => needs_token(),
            _ => Answer::refusal(404, "there are /, /status, /metrics, /healthz and /readyz"),
        }
    }

    fn now(&self, shown: FilesShown) -> Status {
        self.sampler.status(shown, Instant::now(), Timestamp::now())
    }

    fn status(&self, query: &str) -> Answer {
        let is_all = query.split('&').any(|part| part == "files=all");
        let shown = if is_all {
            FilesShown::All
        } else {
            FilesShown::MOST
        };
        match serde_json::to_string(&self.now(shown)) {
            Ok(body) => Answer::new(200, JSON, body),
            Err(error) => Answer::refusal(500, &error.to_string()),
        }
    }

    fn metrics(&self) -> Answer {
        match &self.prometheus {
            Some(prometheus) => {
                let status = self.now(FilesShown::AtMost(FILE_SERIES_MAX));
                Answer::new(
                    200,
                    METRICS,
                    prometheus.render(&status, self.sampler.counters()),
                )
            }
            None => Answer::refusal(404, "there are no metrics; set metrics.prometheus.listen"),
        }
    }

    /// Nothing about the services: an outage of theirs must not restart a fleet.
    fn health(&self, now: Instant) -> Answer {
        match self.sampler.counters().standing_still(now) {
            None => Answer::new(200, TEXT, "ok\n"),
            Some(what) => Answer::refusal(503, &what),
        }
    }

    fn readiness(&self, may_see: bool) -> Answer {
        let status = self.now(FilesShown::AtMost(0));
        if status.is_delivering {
            return Answer::new(200, TEXT, "ok\n");
        }
        let mut why = String::from("not being delivered\n");
        for trouble in &status.troubles {
            if may_see && trouble.concern == Concern::Sending {
                // Writing to a String can't fail.
                let _ = writeln!(why, "{}; {}", trouble.problem, trouble.remedy);
            }
        }
        for flow in status
            .flows
            .iter()
            .filter(|flow| may_see && !flow.is_delivering())
        {
            let trouble = flow.troubles.first();
            let cause = match (flow.state, trouble) {
                (FlowState::Stuck, _) | (_, None) => "its thread stands still".to_owned(),
                (_, Some(trouble)) => format!("{}; {}", trouble.problem, trouble.remedy),
            };
            let _ = writeln!(why, "{}: {cause}", flow.flow);
        }
        Answer::new(503, TEXT, why)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Destination, FlowId};
    use crate::telemetry::counters::AgentCounters;
    use crate::telemetry::counters::FlowCounters;

    #[test]
    fn health_asks_the_sending_side_and_every_flow() {
        let flow = |id: &str| {
            let id = FlowId(id.into());
            let stream = Destination::Kinesis("s".into());
            (id.clone(), Arc::new(FlowCounters::new(id, stream, None)))
        };
        let counters = Arc::new(AgentCounters::of(vec![flow("a"), flow("b")]));
        let sampler = Arc::new(Sampler::new(Arc::clone(&counters), Instant::now(), || 0));
        let web = Web::new(sampler, None, Access::default());
        let later = Instant::now() + Duration::from_secs(3600);
        let told = |at| {
            let answer = web.health(at);
            (answer.status, answer.body)
        };
        assert_eq!(told(Instant::now()), (200, "ok\n".to_owned()));
        assert_eq!(told(later), (503, "sending stands still\n".to_owned()));
        counters.sending.turns(later);
        counters.flows()[0].1.turning.turns(later);
        assert_eq!(told(later), (503, "1 of 2 flows stand still\n".to_owned()));
        counters.flows()[1].1.turning.turns(later);
        assert_eq!(told(later), (200, "ok\n".to_owned()));
    }
}
