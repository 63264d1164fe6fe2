//! Users with hashed passwords, checked beside the async workers.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::origin_places::OriginPlaces;
use super::verifications::Verifications;
use super::verified_lately::{CredentialDigest, VerifiedLately};

/// How long after its last use a password that was verified is taken without its hash. Users at work need no place in the
/// queue, however many passwords others guess.
const PASSWORD_REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// How many passwords of a gate are verified at once. Each takes a thread, and the memory of its hash.
const AT_ONCE: usize = 2;

/// How many more may wait for it.
const WAITING: usize = 64;

/// How many of these places one address may have, those at work included.
const WAITING_OF_ONE: usize = 8;

/// How many different costs the hashes of a gate may have: a password is verified once at each.
const MOST_COSTS: usize = 4;

/// The most memory of an Argon2 hash, in KiB: the standard has 19 MiB.
const MOST_MEMORY: u32 = 256 << 10;

/// The lowest cost of a bcrypt hash.
const LEAST_COST: u32 = 4;

/// The highest cost of a bcrypt hash: about a second.
const MOST_COST: u32 = 14;

/// How many bytes of a password bcrypt reads. A longer password would pass with anything behind them.
const BCRYPT_BYTES: usize = 72;

/// Users, each with the hash of a password.
pub struct Passwords {
    users: HashMap<String, PasswordHash>,
    /// A hash of each cost. It is verified for a user without a hash of that cost, so the time does not show which users
    /// exist.
    decoys: Vec<PasswordHash>,
    /// The users of credentials as they are sent.
    verified: VerifiedLately<Arc<str>>,
    permits: Arc<Semaphore>,
    waiting: Arc<OriginPlaces>,
    verifications: Verifications,
}

/// The hash of a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PasswordHash {
    /// A PHC string: `$argon2id$v=19$m=19456,t=2,p=1$...`.
    Argon2(String),
    /// `$2b$12$...`.
    Bcrypt(String),
}

/// What the verification of a hash costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PasswordCost {
    Argon2(Argon2Cost),
    /// The logarithm of the number of rounds.
    Bcrypt(u32),
}

/// The cost of a hash of Argon2. The algorithms and their versions differ a little in time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Argon2Cost {
    algorithm: Algorithm,
    version: Version,
    /// In KiB.
    memory: u32,
    passes: u32,
    lanes: u32,
}

/// What a client sends as user name and password.
#[derive(Clone)]
pub struct BasicCredentials {
    /// The user name.
    pub user: Arc<str>,
    /// The password.
    pub password: Vec<u8>,
    /// The digest of what they were read from, by which they are remembered; see [`Passwords::digest`].
    pub digest: CredentialDigest,
}

/// Too many passwords wait to be verified.
#[derive(Debug)]
pub struct PasswordCrowd;

impl Passwords {
    /// Makes the users.
    ///
    /// # Errors
    /// There are none, or their hashes have too many different costs.
    pub fn new(users: HashMap<String, PasswordHash>) -> Result<Passwords, String> {
        let mut decoys: Vec<PasswordHash> = Vec::new();
        for hash in users.values() {
            if !decoys.iter().any(|decoy| decoy.cost() == hash.cost()) {
                decoys.push(hash.clone());
            }
            if decoys.len() > MOST_COSTS {
                return Err(format!(
                    "the hashes have more than {MOST_COSTS} different costs, and a password is verified at each so that \
                     the time tells nothing: use fewer"
                ));
            }
        }
        if decoys.is_empty() {
            return Err(
                "lets nobody pass: write users = { NAME = \"HASH\" } or users_file = \"FILE\"".to_owned()
            );
        }
        Ok(Passwords {
            users,
            decoys,
            verified: VerifiedLately::new(),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: OriginPlaces::new(AT_ONCE + WAITING, WAITING_OF_ONE),
            verifications: Verifications::default(),
        })
    }

    /// Returns the digest of a user name and a password as a client sends them, before they are decoded.
    pub fn digest(&self, sent: &str) -> CredentialDigest {
        self.verified.digest(sent.as_bytes())
    }

    /// Returns the user of credentials that were verified lately. They are then remembered for another hour. Does not wait.
    pub fn remembered(&self, digest: &CredentialDigest) -> Option<Arc<str>> {
        self.verified.find_renewed(digest, PASSWORD_REMEMBERED)
    }

    /// Reports whether the password is that of the user. A verified password is remembered for an hour after its last
    /// use. `origin` is the address that the client counts for.
    ///
    /// # Errors
    /// Too many others wait for the same, or too many of this address.
    ///
    /// # Cancel safety
    /// A dropped wait leaves the queue. A verification that has begun goes on.
    pub async fn verify(
        self: &Arc<Self>,
        credentials: BasicCredentials,
        origin: Option<IpAddr>,
    ) -> Result<bool, PasswordCrowd> {
        if self.remembered(&credentials.digest).is_some() {
            return Ok(true);
        }
        let verification = self.verifications.of(&credentials.digest);
        let outcome = verification.get_or_try_init(|| self.check(credentials, origin)).await;
        outcome.copied()
    }

    async fn check(
        self: &Arc<Self>,
        credentials: BasicCredentials,
        origin: Option<IpAddr>,
    ) -> Result<bool, PasswordCrowd> {
        let place = self.waiting.take(origin).ok_or(PasswordCrowd)?;
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| PasswordCrowd)?;
        let this = self.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let _held = (place, permit);
            let is_right = this.is_right(&credentials);
            if is_right {
                this.verified.keep(credentials.digest, credentials.user, PASSWORD_REMEMBERED);
            }
            is_right
        });
        Ok(checked.await.unwrap_or(false))
    }

    fn is_right(&self, BasicCredentials { user, password, digest: _ }: &BasicCredentials) -> bool {
        let own = self.users.get(&**user);
        let mut is_right = false;
        for hash in self.hashes(own) {
            let is_of = black_box(hash.is_of(password));
            is_right |= is_of && own == Some(hash);
        }
        is_right
    }

    /// Iterates over the hashes that a password is verified against: the user's own, and one of every other cost. So all
    /// users, known or not, cost the same time.
    fn hashes<'a>(&'a self, own: Option<&'a PasswordHash>) -> impl Iterator<Item = &'a PasswordHash> {
        self.decoys.iter().map(move |decoy| own.filter(|own| own.cost() == decoy.cost()).unwrap_or(decoy))
    }
}

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// The text is no hash of Argon2 or bcrypt, or costs too much to verify. The message does not show it.
    pub fn read(text: &str) -> Result<PasswordHash, String> {
        if text.starts_with("$argon2") {
            let cost = Argon2Cost::of(text).map_err(|error| format!("not a hash of Argon2: {error}"))?;
            return match cost.memory <= MOST_MEMORY && cost.passes <= 16 && cost.lanes <= 16 {
                true => Ok(PasswordHash::Argon2(text.to_owned())),
                false => Err(format!("a hash that costs too much: at most m={MOST_MEMORY},t=16,p=16")),
            };
        }
        if text.starts_with("$2") {
            let parts: bcrypt::HashParts =
                text.parse().map_err(|error| format!("not a hash of bcrypt: {error}"))?;
            return match parts.get_cost() {
                // No password fits a cost that bcrypt does not have: it is refused at once.
                ..LEAST_COST => Err(format!("not a hash of bcrypt: its cost is below {LEAST_COST}")),
                LEAST_COST..=MOST_COST => Ok(PasswordHash::Bcrypt(text.to_owned())),
                _ => Err(format!("a hash that costs too much: at most cost {MOST_COST}")),
            };
        }
        Err("wanted a hash of Argon2 (\"$argon2id$...\") or bcrypt (\"$2b$...\"), found something else: make one \
             with `htpasswd -nB NAME` or `argon2`"
            .to_owned())
    }

    fn cost(&self) -> PasswordCost {
        match self {
            PasswordHash::Argon2(text) => PasswordCost::Argon2(Argon2Cost::of(text).unwrap_or_default()),
            PasswordHash::Bcrypt(text) => {
                let parts = text.parse::<bcrypt::HashParts>().ok();
                PasswordCost::Bcrypt(parts.map(|parts| parts.get_cost()).unwrap_or_default())
            }
        }
    }

    /// Verifies a password. Takes long, and the same time for each wrong one.
    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            PasswordHash::Argon2(hash) => Argon2::default().verify_password(password, hash.as_str()).is_ok(),
            PasswordHash::Bcrypt(hash) => {
                // The length comes second, so that it costs the same time.
                bcrypt::verify(password, hash).unwrap_or(false) && password.len() <= BCRYPT_BYTES
            }
        }
    }
}

impl Argon2Cost {
    /// Reads the cost of a hash.
    ///
    /// # Errors
    /// No password fits the text. Verifying one would fail at once, and so tell which users have such a hash.
    fn of(text: &str) -> Result<Argon2Cost, String> {
        let hash = phc::PasswordHash::new(text).map_err(|error| error.to_string())?;
        let algorithm = Algorithm::new(hash.algorithm.as_str()).map_err(|error| error.to_string())?;
        let version = hash.version.map(Version::try_from).transpose().map_err(|error| error.to_string())?;
        let params = Params::try_from(&hash).map_err(|error| error.to_string())?;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err("its salt or its hash is missing".to_owned());
        }
        Ok(Argon2Cost {
            algorithm,
            version: version.unwrap_or_default(),
            memory: params.m_cost(),
            passes: params.t_cost(),
            lanes: params.p_cost(),
        })
    }
}

#[cfg(test)]
mod tests;
