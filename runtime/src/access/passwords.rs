//! Users with hashed passwords, checked beside the async workers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc;
use argon2::{Argon2, Params};
use tokio::sync::Semaphore;

use super::verified_lately::VerifiedLately;

/// How long a password that was verified is taken without its hash.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many passwords of a gate are verified at once. Each takes a thread, and the memory of its hash.
const AT_ONCE: usize = 2;

/// How many more may wait for it.
const WAITING: usize = 64;

/// The most memory of an Argon2 hash, in KiB: the standard has 19 MiB.
const MOST_MEMORY: u32 = 256 << 10;

/// The highest cost of a bcrypt hash: about a second.
const MOST_COST: u32 = 14;

/// Users, each with the hash of a password.
pub struct Passwords {
    users: HashMap<String, PasswordHash>,
    /// Verified for a user that does not exist, so that the time does not tell.
    decoy: PasswordHash,
    verified: VerifiedLately<()>,
    permits: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// The hash of a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PasswordHash {
    /// A PHC string: `$argon2id$v=19$m=19456,t=2,p=1$...`.
    Argon2(String),
    /// `$2b$12$...`.
    Bcrypt(String),
}

/// What a client sends as user name and password.
#[derive(Clone)]
pub struct BasicCredentials {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Vec<u8>,
}

/// Too many passwords wait to be verified.
#[derive(Debug)]
pub struct PasswordCrowd;

impl Passwords {
    /// Makes the users. Returns `None` if there are none.
    pub fn new(users: HashMap<String, PasswordHash>) -> Option<Passwords> {
        let decoy = users.values().next()?.clone();
        let (permits, waiting) = (Semaphore::new(AT_ONCE), Semaphore::new(AT_ONCE + WAITING));
        Some(Passwords {
            users,
            decoy,
            verified: VerifiedLately::new(),
            permits: Arc::new(permits),
            waiting: Arc::new(waiting),
        })
    }

    /// Reports whether the password is that of the user. A verified password is remembered for a minute.
    ///
    /// # Errors
    /// Too many others wait for the same.
    ///
    /// # Cancel safety
    /// A dropped wait leaves the queue. A verification that has begun goes on.
    pub async fn verify(self: &Arc<Self>, credentials: BasicCredentials) -> Result<bool, PasswordCrowd> {
        let digest = self.verified.digest(&[credentials.user.as_bytes(), &credentials.password]);
        if self.verified.find(&digest).is_some() {
            return Ok(true);
        }
        let place = self.waiting.clone().try_acquire_owned().map_err(|_| PasswordCrowd)?;
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| PasswordCrowd)?;
        let this = self.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let _held = (place, permit);
            let is_right = this.is_right(&credentials);
            if is_right {
                this.verified.keep(digest, (), REMEMBERED);
            }
            is_right
        });
        Ok(checked.await.unwrap_or(false))
    }

    fn is_right(&self, BasicCredentials { user, password }: &BasicCredentials) -> bool {
        let known = self.users.get(user);
        known.unwrap_or(&self.decoy).is_of(password) && known.is_some()
    }
}

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// The text is no hash of Argon2 or bcrypt, or costs too much to verify. The message does not show it.
    pub fn read(text: &str) -> Result<PasswordHash, String> {
        if text.starts_with("$argon2") {
            let hash =
                phc::PasswordHash::new(text).map_err(|error| format!("not a hash of Argon2: {error}"))?;
            let params = Params::try_from(&hash).map_err(|error| format!("not a hash of Argon2: {error}"))?;
            return match params.m_cost() <= MOST_MEMORY && params.t_cost() <= 16 && params.p_cost() <= 16 {
                true => Ok(PasswordHash::Argon2(text.to_owned())),
                false => Err(format!("a hash that costs too much: at most m={MOST_MEMORY},t=16,p=16")),
            };
        }
        if text.starts_with("$2") {
            let parts: bcrypt::HashParts =
                text.parse().map_err(|error| format!("not a hash of bcrypt: {error}"))?;
            return match parts.get_cost() <= MOST_COST {
                true => Ok(PasswordHash::Bcrypt(text.to_owned())),
                false => Err(format!("a hash that costs too much: at most cost {MOST_COST}")),
            };
        }
        Err("wanted a hash of Argon2 (\"$argon2id$...\") or bcrypt (\"$2b$...\"), found something else: make one \
             with `htpasswd -nB NAME` or `argon2`"
            .to_owned())
    }

    /// Verifies a password. Takes long, and the same time for each wrong one.
    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            PasswordHash::Argon2(hash) => Argon2::default().verify_password(password, hash.as_str()).is_ok(),
            PasswordHash::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "lovelace", with a low cost.
    fn hash() -> PasswordHash {
        PasswordHash::read(&bcrypt::hash("lovelace", 4).unwrap()).unwrap()
    }

    fn credentials(user: &str, password: &str) -> BasicCredentials {
        BasicCredentials { user: user.to_owned(), password: password.as_bytes().to_vec() }
    }

    #[tokio::test]
    async fn a_password_opens_for_its_user_alone_and_is_remembered() {
        let passwords = Arc::new(Passwords::new(HashMap::from([("ada".to_owned(), hash())])).unwrap());

        for (user, password, wanted) in [
            ("ada", "lovelace", true),
            ("ada", "byron", false),
            ("bob", "lovelace", false),
            ("adal", "ovelace", false),
        ] {
            assert_eq!(
                passwords.verify(credentials(user, password)).await.unwrap(),
                wanted,
                "{user} {password}"
            );
        }
        // Nobody verifies any more.
        passwords.permits.close();
        assert!(passwords.verify(credentials("ada", "lovelace")).await.unwrap());
        assert!(passwords.verify(credentials("ada", "byron")).await.is_err());
    }

    #[tokio::test]
    async fn a_crowd_of_guesses_is_turned_away() {
        let passwords = Arc::new(Passwords::new(HashMap::from([("ada".to_owned(), hash())])).unwrap());
        let _held = passwords.waiting.clone().try_acquire_many_owned(66).unwrap();

        assert!(passwords.verify(credentials("ada", "byron")).await.is_err());
    }

    #[test]
    fn hashes_of_argon2_and_bcrypt_are_taken_and_no_others() {
        // `argon2 somesalt -id -t 1 -k 64 -p 1`, of "password".
        let argon2 = Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            Params::new(64, 1, 1, None).unwrap(),
        );
        let text =
            argon2::password_hash::PasswordHasher::hash_password(&argon2, b"password").unwrap().to_string();
        let hash = PasswordHash::read(&text).unwrap();
        assert!(hash.is_of(b"password") && !hash.is_of(b"Password") && !hash.is_of(b""));

        for text in
            ["", "password", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "$apr1$x$y", "$argon2id$", "$2b$31$short"]
        {
            assert!(PasswordHash::read(text).is_err(), "{text}");
        }
        let dear = text.replace("m=64", "m=99999999");
        assert!(PasswordHash::read(&dear).unwrap_err().contains("costs too much"));
    }
}
