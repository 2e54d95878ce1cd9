//! The credentials in use: asked for when they are first needed, held until shortly before they end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::identity::Identity;

use super::{NoCredentials, cause_of, reason};

/// How long before they end credentials are renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// How long those without an end are held: keys in a file are exchanged without a word.
const HELD_MAX: Duration = Duration::from_secs(15 * 60);
/// How long finding credentials may take; the instance metadata is asked twice.
const ASKING_TIME: Duration = Duration::from_secs(10);
/// The time between two tries while those at hand are still good.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// Those that were asked for so shortly ago aren't asked for again because a service refused them.
const TRUSTED_TIME: Duration = Duration::from_secs(60);

/// Credentials of a provider, shared by all calls: one of them asks, and the others go on with what is at hand.
#[derive(Debug)]
pub struct Held {
    provider: SharedCredentialsProvider,
    at_hand: Mutex<Option<AtHand>>,
    /// Held by the call that asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct AtHand {
    identity: Identity,
    since: Instant,
    /// When they end, if they do.
    end: Option<SystemTime>,
    /// From when on they are to be renewed, by the wall clock and by the monotonic one: what is set or sleeps differs.
    renew_at: (Option<SystemTime>, Instant),
}

impl AtHand {
    fn new(credentials: Credentials, now: Instant) -> AtHand {
        let end = credentials.expiry();
        let renew_at = end.and_then(|end| end.checked_sub(RENEW_BEFORE));
        AtHand {
            identity: credentials.into(),
            since: now,
            end,
            renew_at: (renew_at, now + HELD_MAX),
        }
    }

    fn is_fresh(&self, wall: SystemTime, now: Instant) -> bool {
        match self.renew_at {
            (Some(at), _) => wall < at,
            (None, at) => now < at,
        }
    }

    fn is_over(&self, wall: SystemTime) -> bool {
        self.end.is_some_and(|end| end <= wall)
    }
}

impl Held {
    pub fn new(provider: SharedCredentialsProvider) -> Arc<Held> {
        Arc::new(Held {
            provider,
            at_hand: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// As whom a call is made now.
    ///
    /// # Errors
    ///
    /// There are none, and none at hand that are still good.
    pub async fn identity(&self) -> Result<Identity, NoCredentials> {
        self.identity_at(SystemTime::now(), Instant::now()).await
    }

    async fn identity_at(&self, wall: SystemTime, now: Instant) -> Result<Identity, NoCredentials> {
        let asking = match self.at_hand() {
            Some(held) if held.is_fresh(wall, now) => return Ok(held.identity),
            Some(held) if !held.is_over(wall) => match self.asking.try_lock() {
                Ok(asking) => asking,
                Err(_) => return Ok(held.identity),
            },
            _ => self.asking.lock().await,
        };
        // Another call may have asked meanwhile.
        let held = self.at_hand();
        if let Some(held) = &held
            && held.is_fresh(wall, now)
        {
            return Ok(held.identity.clone());
        }
        let answer = self.ask(now).await;
        drop(asking);
        match (answer, held) {
            (Ok(identity), _) => Ok(identity),
            (Err(_), Some(held)) if !held.is_over(wall) => {
                self.hold(AtHand {
                    renew_at: (None, now + RENEWAL_INTERVAL),
                    ..held.clone()
                });
                Ok(held.identity)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// A service won't have them: they are asked for anew before the next call, unless that was done just now.
    pub fn mistrust(&self) {
        self.mistrust_at(Instant::now());
    }

    fn mistrust_at(&self, now: Instant) {
        if let Some(held) = self.lock().as_mut()
            && now.saturating_duration_since(held.since) >= TRUSTED_TIME
        {
            (held.end, held.renew_at) = (Some(SystemTime::UNIX_EPOCH), (None, held.since));
        }
    }

    async fn ask(&self, now: Instant) -> Result<Identity, NoCredentials> {
        let asked = tokio::time::timeout(ASKING_TIME, self.provider.provide_credentials());
        let held = match asked.await {
            Ok(Ok(credentials)) => AtHand::new(credentials, now),
            Ok(Err(error)) => {
                let other = || NoCredentials::Other(reason(&error));
                return Err(cause_of(&error).unwrap_or_else(other));
            }
            Err(_) => return Err(NoCredentials::Late(ASKING_TIME)),
        };
        let identity = held.identity.clone();
        self.hold(held);
        Ok(identity)
    }

    fn at_hand(&self) -> Option<AtHand> {
        self.lock().clone()
    }

    fn hold(&self, held: AtHand) {
        *self.lock() = Some(held);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<AtHand>> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
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
    async fn whom(held: &Held, zero: Instant, s: u64) -> Result<String, NoCredentials> {
        let identity = held
            .identity_at(at(s), zero + Duration::from_secs(s))
            .await?;
        let credentials = identity.data::<Credentials>().expect("these are no others");
        Ok(credentials.access_key_id().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_held_until_shortly_before_they_end() {
        use Does::{Fail, Give, Hang};
        // What the provider does in turn; at which second a call is made, and as whom.
        type Row = (&'static [Does], &'static [(u64, Option<&'static str>)]);
        let rows: [Row; 6] = [
            (
                &[Give("a", Some(3600)), Give("b", Some(7200))],
                &[
                    (0, Some("a")),
                    (3299, Some("a")),
                    (3300, Some("b")),
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
                    (3310, Some("a")),
                    (3600, None),
                    (3601, Some("b")),
                ],
            ),
            // Those without an end may be exchanged all the same.
            (
                &[Give("a", None), Give("b", None)],
                &[(0, Some("a")), (899, Some("a")), (900, Some("b"))],
            ),
            (&[Fail, Give("a", None)], &[(0, None), (0, Some("a"))]),
            (&[Hang, Give("a", None)], &[(0, None), (0, Some("a"))]),
            (
                &[Give("a", Some(3600)), Hang, Give("b", None)],
                &[(0, Some("a")), (3300, Some("a")), (3310, Some("b"))],
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

    #[tokio::test]
    async fn what_a_service_refuses_is_asked_for_anew_once_a_minute() {
        let does = [Does::Give("a", None), Does::Give("b", None), Does::Fail];
        let (held, zero) = (held(&does), Instant::now());
        let after = |s| zero + Duration::from_secs(s);
        assert_eq!(whom(&held, zero, 0).await.as_deref(), Ok("a"));
        held.mistrust_at(after(59));
        assert_eq!(whom(&held, zero, 59).await.as_deref(), Ok("a"));
        held.mistrust_at(after(60));
        assert_eq!(whom(&held, zero, 60).await.as_deref(), Ok("b"));
        held.mistrust_at(after(61));
        assert_eq!(whom(&held, zero, 61).await.as_deref(), Ok("b"));
        held.mistrust_at(after(120));
        assert!(whom(&held, zero, 120).await.is_err());
    }

    #[tokio::test]
    async fn others_go_on_with_what_is_at_hand_while_one_asks() {
        let held = held(&[Does::Give("a", Some(3600)), Does::Hang]);
        let zero = Instant::now();
        assert_eq!(whom(&held, zero, 0).await.as_deref(), Ok("a"));
        let asking = whom(&held, zero, 3400);
        tokio::select! {
            biased;
            _ = asking => panic!("its provider hangs"),
            other = whom(&held, zero, 3400) => assert_eq!(other.as_deref(), Ok("a")),
        }
    }
}
