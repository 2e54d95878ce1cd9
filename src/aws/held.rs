//! The credentials in use: asked for when they are first needed, held until shortly before they end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::identity::Identity;

use super::{NoCredentials, cause_of, reason};

/// How long before they end credentials are renewed.
pub const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// How long finding credentials may take; the instance metadata is asked twice.
pub const ASKING_TIME: Duration = Duration::from_secs(10);
/// How long those without an end are held: keys in a file are exchanged without a word.
const HELD_MAX: Duration = Duration::from_secs(15 * 60);
/// Nobody is asked more often while there are credentials, whatever end they have and whether they could be renewed.
const ASKING_INTERVAL: Duration = Duration::from_secs(10);
/// Those that were asked for so shortly ago aren't asked for again because a service refused them.
const TRUSTED_TIME: Duration = Duration::from_secs(60);

/// Credentials of a provider, shared by all calls. They are renewed beside the calls, which wait only for the first ones.
#[derive(Debug)]
pub struct Held {
    provider: SharedCredentialsProvider,
    state: Mutex<State>,
    /// Held by whoever asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    at_hand: Option<AtHand>,
    /// When asking last failed, and why.
    failed: Option<(Instant, NoCredentials)>,
}

#[derive(Debug, Clone)]
struct AtHand {
    identity: Identity,
    /// When they end, if they do.
    end: Option<SystemTime>,
    /// When they were given, by the monotonic clock: the other may be off, or set.
    since: Instant,
    /// A service won't have them.
    is_refused: bool,
}

/// By both clocks.
#[derive(Debug, Clone, Copy)]
struct Now {
    wall: SystemTime,
    monotonic: Instant,
}

impl Now {
    fn read() -> Now {
        Now {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        }
    }

    fn after(self, time: Duration) -> Now {
        Now {
            wall: self.wall + time,
            monotonic: self.monotonic + time,
        }
    }

    fn since(self, then: Instant) -> Duration {
        self.monotonic.saturating_duration_since(then)
    }
}

impl AtHand {
    fn is_new(&self, now: Now) -> bool {
        now.since(self.since) < ASKING_INTERVAL
    }

    /// Whether it is time to renew them.
    fn is_old(&self, now: Now) -> bool {
        let is_near_end = match self.end {
            Some(end) => end <= now.wall + RENEW_BEFORE,
            None => now.since(self.since) >= HELD_MAX,
        };
        self.is_refused || (is_near_end && !self.is_new(now))
    }

    /// Whether no call can be made with them any more. Those that end at once may do so by a clock that is off.
    fn is_over(&self, now: Now) -> bool {
        let has_ended = self.end.is_some_and(|end| end <= now.wall);
        self.is_refused || (has_ended && !self.is_new(now))
    }
}

impl Held {
    /// None yet.
    pub fn new(provider: SharedCredentialsProvider) -> Arc<Held> {
        Arc::new(Held {
            provider,
            state: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// As whom a call is made now. What is to be renewed is renewed beside it.
    ///
    /// # Errors
    ///
    /// There are none, and none at hand that are still good.
    pub async fn identity(self: &Arc<Held>) -> Result<Identity, NoCredentials> {
        self.identity_at(Now::read()).await
    }

    async fn identity_at(self: &Arc<Held>, came: Now) -> Result<Identity, NoCredentials> {
        match self.usable(came) {
            (Some(identity), false) => Ok(identity),
            (Some(identity), true) => {
                let held = Arc::clone(self);
                tokio::spawn(async move {
                    if let Ok(_asking) = held.asking.try_lock() {
                        // Why it failed is told once there are none any more.
                        let _ = held.renew(came).await;
                    }
                });
                Ok(identity)
            }
            (None, _) => {
                let _asking = self.asking.lock().await;
                self.renew(came).await
            }
        }
    }

    /// Asks, unless another call did so meanwhile.
    async fn renew(&self, came: Now) -> Result<Identity, NoCredentials> {
        if let (Some(identity), false) = self.usable(came) {
            return Ok(identity);
        }
        if let Some(error) = self.failed_since(came) {
            return Err(error);
        }
        let began = Instant::now();
        let asked = self.ask().await;
        let now = came.after(began.elapsed());
        let mut state = self.lock();
        match asked {
            Ok(credentials) => {
                let end = credentials.expiry();
                let identity = Identity::from(credentials);
                *state = State {
                    at_hand: Some(AtHand {
                        identity: identity.clone(),
                        end,
                        since: now.monotonic,
                        is_refused: false,
                    }),
                    failed: None,
                };
                Ok(identity)
            }
            Err(error) => {
                state.failed = Some((now.monotonic, error.clone()));
                Err(error)
            }
        }
    }

    /// A service won't have them: they are asked for anew before the next call, unless that was done just now.
    pub fn mistrust(&self) {
        self.mistrust_at(Instant::now());
    }

    fn mistrust_at(&self, now: Instant) {
        if let Some(held) = &mut self.lock().at_hand {
            held.is_refused |= now.saturating_duration_since(held.since) >= TRUSTED_TIME;
        }
    }

    async fn ask(&self) -> Result<Credentials, NoCredentials> {
        let asked = tokio::time::timeout(ASKING_TIME, self.provider.provide_credentials());
        let answer = asked.await.map_err(|_| NoCredentials::Late(ASKING_TIME))?;
        answer.map_err(|error| {
            let other = || NoCredentials::Other(reason(&error));
            cause_of(&error).unwrap_or_else(other)
        })
    }

    /// What a call can be made with, and whether it is to be renewed.
    fn usable(&self, now: Now) -> (Option<Identity>, bool) {
        let state = self.lock();
        let Some(held) = state.at_hand.as_ref().filter(|held| !held.is_over(now)) else {
            return (None, true);
        };
        let has_just_failed = state
            .failed
            .as_ref()
            .is_some_and(|(at, _)| now.since(*at) < ASKING_INTERVAL);
        let identity = held.identity.clone();
        (Some(identity), held.is_old(now) && !has_just_failed)
    }

    /// Why another call that came no earlier got none: those that waited for it needn't ask one after the other.
    fn failed_since(&self, came: Now) -> Option<NoCredentials> {
        let state = self.lock();
        let (at, error) = state.failed.as_ref()?;
        (*at > came.monotonic).then(|| error.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::{ProvideCredentials, future};

    use super::*;

    /// What the provider does when it is asked.
    #[derive(Debug, Clone, Copy)]
    enum Does {
        /// Gives credentials of this name, which end at that many seconds.
        Give(&'static str, Option<u64>),
        Fail,
        Hang,
    }

    #[derive(Debug, Clone)]
    struct Scripted(Arc<Mutex<VecDeque<Does>>>);

    const BEGIN: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(s: u64) -> SystemTime {
        BEGIN + Duration::from_secs(s)
    }

    fn credentials(name: &str, end_s: Option<u64>) -> Credentials {
        Credentials::new(name, "secret", None, end_s.map(at), "test")
    }

    impl ProvideCredentials for Scripted {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let does = self.0.lock().unwrap().pop_front();
            future::ProvideCredentials::new(async move {
                match does.expect("it isn't to be asked") {
                    Does::Give(name, end_s) => Ok(credentials(name, end_s)),
                    Does::Fail => Err(CredentialsError::provider_error("out of order")),
                    Does::Hang => std::future::pending().await,
                }
            })
        }
    }

    fn held(does: &[Does]) -> Arc<Held> {
        let does = Arc::new(Mutex::new(does.iter().copied().collect()));
        Held::new(SharedCredentialsProvider::new(Scripted(does)))
    }

    /// As whom a call is made so many seconds after the beginning.
    async fn whom(held: &Arc<Held>, zero: Instant, s: u64) -> Result<String, NoCredentials> {
        let now = Now {
            wall: at(s),
            monotonic: zero + Duration::from_secs(s),
        };
        let identity = held.identity_at(now).await;
        // What goes on beside it comes to its end.
        tokio::time::sleep(2 * ASKING_TIME).await;
        let identity = identity?;
        let credentials = identity.data::<Credentials>().expect("these are no others");
        Ok(credentials.access_key_id().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_held_until_shortly_before_they_end() {
        use Does::{Fail, Give, Hang};
        // What the provider does in turn; at which second a call is made, and as whom.
        type Row = (&'static [Does], &'static [(u64, Option<&'static str>)]);
        let rows: [Row; 8] = [
            (
                &[Give("a", Some(3600)), Give("b", Some(7200))],
                &[
                    (0, Some("a")),
                    (3299, Some("a")),
                    (3300, Some("a")),
                    (3301, Some("b")),
                    (6899, Some("b")),
                ],
            ),
            // A renewal that fails is tried again ten seconds later, and hurts once they end.
            (
                &[Give("a", Some(3600)), Fail, Fail, Fail, Give("b", None)],
                &[
                    (0, Some("a")),
                    (3300, Some("a")),
                    (3309, Some("a")),
                    (3311, Some("a")),
                    (3600, None),
                    (3601, Some("b")),
                ],
            ),
            // So is one that brings nothing new.
            (
                &[
                    Give("a", Some(3600)),
                    Give("a", Some(3600)),
                    Give("b", None),
                ],
                &[
                    (0, Some("a")),
                    (3300, Some("a")),
                    (3309, Some("a")),
                    (3311, Some("a")),
                    (3312, Some("b")),
                ],
            ),
            // By a clock that is ahead they end before they are given.
            (
                &[Give("a", Some(0)), Give("b", Some(0))],
                &[(5000, Some("a")), (5009, Some("a")), (5011, Some("b"))],
            ),
            // Those without an end may be exchanged all the same.
            (
                &[Give("a", None), Give("b", None)],
                &[
                    (0, Some("a")),
                    (899, Some("a")),
                    (901, Some("a")),
                    (902, Some("b")),
                ],
            ),
            (&[Fail, Give("a", None)], &[(0, None), (1, Some("a"))]),
            (&[Hang, Give("a", None)], &[(0, None), (1, Some("a"))]),
            (
                &[Give("a", Some(3600)), Hang, Give("b", None)],
                &[
                    (0, Some("a")),
                    (3300, Some("a")),
                    (3311, Some("a")),
                    (3312, Some("b")),
                ],
            ),
        ];
        for (does, calls) in rows {
            let (held, zero) = (held(does), Instant::now());
            for (s, expected) in calls {
                let found = whom(&held, zero, *s).await.ok();
                assert_eq!(found.as_deref(), *expected, "{does:?} at {s}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_service_refuses_is_asked_for_anew_once_a_minute() {
        let does = [Does::Give("a", None), Does::Give("b", None), Does::Fail];
        let (held, zero) = (held(&does), Instant::now());
        let after = |s| zero + Duration::from_secs(s);
        assert_eq!(whom(&held, zero, 0).await.as_deref(), Ok("a"));
        held.mistrust_at(after(59));
        assert_eq!(whom(&held, zero, 59).await.as_deref(), Ok("a"));
        held.mistrust_at(after(61));
        assert_eq!(whom(&held, zero, 61).await.as_deref(), Ok("b"));
        held.mistrust_at(after(62));
        assert_eq!(whom(&held, zero, 62).await.as_deref(), Ok("b"));
        held.mistrust_at(after(122));
        assert!(whom(&held, zero, 122).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_waits_while_they_are_renewed() {
        let (held, zero) = (
            held(&[Does::Give("a", Some(3600)), Does::Hang]),
            Instant::now(),
        );
        assert_eq!(whom(&held, zero, 0).await.as_deref(), Ok("a"));
        let calls = tokio::join!(whom(&held, zero, 3400), whom(&held, zero, 3400));
        assert_eq!((calls.0.as_deref(), calls.1.as_deref()), (Ok("a"), Ok("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_waited_for_an_answer_in_vain_do_not_ask_one_after_the_other() {
        let (held, zero) = (held(&[Does::Hang]), Instant::now());
        let calls = tokio::join!(
            whom(&held, zero, 0),
            whom(&held, zero, 0),
            whom(&held, zero, 0)
        );
        assert!(calls.0.is_err() && calls.1.is_err() && calls.2.is_err());
    }
}
