//! A set of keys at a URL: the keys that were fetched last, and when they are to be fetched again.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::token_keys::{self, TokenClaims, TokenKeyRing, TokenKeySource};

/// The least time between two fetches, unless the set is refreshed more often: tokens with invented key names do not
/// make the daemon a flood.
const FETCH_PAUSE: Duration = Duration::from_secs(30);

/// How soon a first failure is tried again. Each further one takes twice as long, up to [`LONGEST_RETRY`].
const RETRY: Duration = Duration::from_secs(2);

/// The longest time between two attempts while the server fails.
const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);

/// The sets in use. A configuration that is read again finds its sets here, with their keys.
static LIVE: Mutex<Vec<Weak<FetchedKeySet>>> = Mutex::new(Vec::new());

/// A set of keys that is fetched and refreshed. The last good keys stay, however long the server is down.
pub struct FetchedKeySet {
    /// Where it comes from.
    pub source: KeySetSource,
    /// Empty until the first fetch succeeded.
    ring: ArcSwap<TokenKeyRing>,
    state: Mutex<KeySetState>,
    wanted: Notify,
}

/// Where a set of keys comes from, and what its tokens must say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySetSource {
    /// The gate that it belongs to.
    pub gate: String,
    /// The URL: `https://id.example.org/jwks.json`.
    pub url: String,
    /// How often it is fetched.
    pub refresh: Duration,
    /// What the tokens must say.
    pub claims: TokenClaims,
    /// Certificates in PEM to trust besides those of the system.
    pub ca: Option<Arc<[u8]>>,
}

/// What is known of a set.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeySetFigures {
    /// How many keys there are.
    pub keys: usize,
    /// When they were fetched. `None` before the first success.
    pub fetched: Option<SystemTime>,
    /// Why the last attempt failed. `None` if it succeeded, or there was none.
    pub failure: Option<String>,
    /// How often the set was fetched.
    pub successes: u64,
    /// How often that failed.
    pub failures: u64,
}

#[derive(Default)]
struct KeySetState {
    figures: KeySetFigures,
    /// When the last attempt ended.
    tried: Option<Instant>,
    /// How many attempts have failed since the last success.
    row: u32,
}

impl FetchedKeySet {
    /// Returns the set of this source: the one in use, with its keys, or a new one without any.
    pub fn of(source: KeySetSource) -> Arc<FetchedKeySet> {
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|set| set.strong_count() > 0);
        if let Some(same) = live.iter().filter_map(Weak::upgrade).find(|set| set.source == source) {
            return same;
        }
        let ring = ArcSwap::from_pointee(TokenKeyRing::new(Vec::new()));
        let set = Arc::new(FetchedKeySet { source, ring, state: Mutex::default(), wanted: Notify::new() });
        live.push(Arc::downgrade(&set));
        set
    }

    /// Waits until the set is to be fetched: at once before the first attempt, then once in `refresh` or when a key is
    /// asked for, and sooner after a failure.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing but a key that was asked for.
    pub async fn due(&self) {
        let (tried, row) = {
            let state = self.state();
            (state.tried, state.row)
        };
        let Some(tried) = tried else { return };
        let refresh = self.source.refresh;
        let wait = match row {
            0 => refresh,
            row => RETRY.saturating_mul(1 << row.min(16).saturating_sub(1)).min(LONGEST_RETRY).min(refresh),
        };
        let asked = async {
            self.wanted.notified().await;
            sleep_until(tried + FETCH_PAUSE.min(refresh)).await;
        };
        tokio::select! {
            () = sleep_until(tried + jittered(wait)) => {}
            () = asked => {}
        }
    }

    /// Takes a set in JSON that was fetched. Returns how many keys it has.
    ///
    /// # Errors
    /// It is no set, or has no key for the algorithms. The keys before it stay.
    pub fn take(&self, json: &[u8]) -> Result<usize, String> {
        let keys = token_keys::read(&TokenKeySource::KeySet(json), &self.source.claims)?;
        let count = keys.len();
        self.ring.store(Arc::new(TokenKeyRing::new(keys)));
        let mut state = self.state();
        state.tried = Some(Instant::now());
        state.row = 0;
        state.figures.keys = count;
        state.figures.fetched = Some(SystemTime::now());
        state.figures.failure = None;
        state.figures.successes += 1;
        Ok(count)
    }

    /// Notes that the set could not be fetched. Returns whether the attempt before had not failed.
    pub fn fail(&self, why: String) -> bool {
        let mut state = self.state();
        state.tried = Some(Instant::now());
        state.row = state.row.saturating_add(1);
        state.figures.failure = Some(why);
        state.figures.failures += 1;
        state.row == 1
    }

    /// Returns what is known of the set.
    pub fn figures(&self) -> KeySetFigures {
        self.state().figures.clone()
    }

    pub(super) fn ring(&self) -> Guard<Arc<TokenKeyRing>> {
        self.ring.load()
    }

    /// Asks for a fetch, because a token names a key that is not in the set.
    pub(super) fn ask(&self) {
        self.wanted.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, KeySetState> {
        // A poisoned lock is harmless: at worst a figure is old.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shortens a time by up to a tenth, so that many daemons do not ask at the same moment.
fn jittered(time: Duration) -> Duration {
    let part = u32::try_from(RandomState::new().hash_one(()) % 1000).unwrap_or_default();
    time - time / 10_000 * part
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use jsonwebtoken::Algorithm;

    const SET: &str = r#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;

    fn set(gate: &str) -> Arc<FetchedKeySet> {
        let claims =
            TokenClaims { algorithms: vec![Algorithm::HS256], issuer: None, audience: None, leeway: 0 };
        FetchedKeySet::of(KeySetSource {
            gate: gate.to_owned(),
            url: "https://id.example".to_owned(),
            refresh: Duration::from_secs(600),
            claims,
            ca: None,
        })
    }

    #[test]
    fn the_last_good_keys_stay_and_a_new_configuration_finds_them() {
        let first = set("stay");
        assert!(first.ring().keys.is_empty());
        assert_eq!(first.take(SET.as_bytes()), Ok(1));

        assert!(first.take(b"<html>").unwrap_err().contains("no set of keys"));
        assert!(first.fail("the server is down".to_owned()) && !first.fail("still".to_owned()));

        let again = set("stay");
        let KeySetFigures { keys, failure, successes, failures, fetched } = again.figures();
        assert!(Arc::ptr_eq(&first, &again) && fetched.is_some());
        assert_eq!((keys, failure.as_deref(), successes, failures), (1, Some("still"), 1, 2));
        assert!(!again.ring().keys.is_empty() && set("other").ring().keys.is_empty());
    }

    #[test]
    fn json_that_is_no_set_of_keys_is_refused_in_plain_words() {
        for json in ["3", "{\"keys\":3}"] {
            let error = set("plain").take(json.as_bytes()).unwrap_err();

            assert!(error.contains("wanted {\"keys\": [...]}") && !error.contains("struct"), "{error}");
        }
    }

    async fn waited(set: &FetchedKeySet) -> Duration {
        let start = Instant::now();
        set.due().await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_fetched_at_once_then_regularly_and_sooner_when_a_key_is_missing_or_the_server_fails() {
        let set = set("due");
        assert!(set.due().now_or_never().is_some());

        set.take(SET.as_bytes()).unwrap();
        let regular = waited(&set).await;
        set.take(SET.as_bytes()).unwrap();
        set.ask();
        let asked = waited(&set).await;
        set.fail("down".to_owned());
        let first = waited(&set).await;
        for _ in 0..20 {
            set.fail("down".to_owned());
        }
        let late = waited(&set).await;

        let seconds = |least: u64, most: u64| Duration::from_secs(least)..=Duration::from_secs(most);
        assert!(seconds(540, 601).contains(&regular), "{regular:?}");
        assert!(seconds(30, 31).contains(&asked), "{asked:?}");
        assert!(seconds(1, 3).contains(&first), "{first:?}");
        assert!(seconds(270, 301).contains(&late), "{late:?}");
    }
}
