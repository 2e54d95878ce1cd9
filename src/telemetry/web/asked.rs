//! The ways to ask the agent how it is doing, opened and kept open while it runs.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::{Access, Prometheus, Serving, Web};
use crate::config::Listening;
use crate::telemetry::events;
use crate::telemetry::status::{SAMPLE_INTERVAL, Sampler};

/// The ways to ask, and the task that has the answers ready; they end when it is dropped.
pub struct Asked {
    sampler: Arc<Sampler>,
    sampling: JoinHandle<()>,
    /// Held for as long as they serve.
    _serving: Vec<Serving>,
}

impl Asked {
    /// Opens the socket and the port that the configuration asks for. One that can't be opened is said, and the agent
    /// goes on without it. Without `has_socket` there is no socket, whatever it asks for.
    pub async fn start(listening: &Listening, sampler: Sampler, has_socket: bool) -> Asked {
        let sampler = Arc::new(sampler);
        let troubles = &sampler.counters().troubles;
        let prometheus = listening.port.map(|_| Prometheus::new(sampler.counters()));
        let token = listening.token.as_ref().map(|token| token.0.as_str());
        let access = Access::new(&listening.hosts, token);
        let web = Arc::new(Web::new(Arc::clone(&sampler), prometheus, access));
        let mut serving = Vec::new();
        if let Some(path) = listening.socket.as_deref().filter(|_| has_socket) {
            match Serving::on_socket(Arc::clone(&web), path) {
                Ok(socket) => serving.push(socket),
                Err(error) => events::no_status_socket(troubles, path, &error),
            }
        }
        if let Some(port) = listening.port {
            match Serving::on_port(Arc::clone(&web), port).await {
                Ok((port, address)) => {
                    serving.push(port);
                    events::listening(address);
                }
                Err(error) => events::not_listening(troubles, port, &error),
            }
        }
        let to_sample = Arc::clone(&sampler);
        let sampling = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                to_sample.sample(Instant::now(), Timestamp::now());
                if let Some(prometheus) = web.prometheus() {
                    prometheus.upkeep(to_sample.counters());
                }
            }
        });
        Asked {
            sampler,
            sampling,
            _serving: serving,
        }
    }

    /// No more samples are taken but a last one, so that what was counted meanwhile reaches CloudWatch.
    pub fn last_sample(&self) {
        self.sampling.abort();
        self.sampler.sample(Instant::now(), Timestamp::now());
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.sampling.abort();
    }
}
