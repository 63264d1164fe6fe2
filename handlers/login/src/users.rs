//! The users, each with the hash of a password.

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};

/// The most memory of a hash, in KiB: the sandbox has 64 MiB.
const MOST_MEMORY: u32 = 46 << 10;

/// The longest password, in bytes.
const LONGEST: usize = 1024;

/// Users by name.
pub(crate) struct Users(Vec<(String, String)>);

impl Users {
    /// Reads pairs `NAME:$argon2id$...` with blanks between them.
    pub(crate) fn read(text: &str) -> Result<Users, String> {
        let mut users = Vec::new();
        for pair in text.split_whitespace() {
            let (name, hash) = pair.split_once(':').ok_or("USERS: write NAME:HASH")?;
            check(hash).map_err(|why| format!("USERS: {name}: {why}"))?;
            users.push((name.to_owned(), hash.to_owned()));
        }
        if users.is_empty() { Err("USERS is empty".to_owned()) } else { Ok(Users(users)) }
    }

    /// Returns the hash of a user's password.
    pub(crate) fn hash(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, hash)| hash.as_str())
    }

    /// Returns the hash of the password if it is that of the user. An unknown user takes as long as a wrong password.
    pub(crate) fn verify(&self, name: &str, password: &str) -> Option<&str> {
        if password.len() > LONGEST {
            return None;
        }
        let known = self.hash(name);
        let hash = known.or(self.0.first().map(|(_, hash)| hash.as_str()))?;
        let is_right = Argon2::default().verify_password(password.as_bytes(), hash).is_ok();
        known.filter(|_| is_right)
    }
}

fn check(hash: &str) -> Result<(), String> {
    let wanted = "wanted a hash of Argon2id, as `argon2 SALT -id -e` prints it";
    if !hash.starts_with("$argon2id$") {
        return Err(wanted.to_owned());
    }
    let parsed = PasswordHash::new(hash).map_err(|_| wanted.to_owned())?;
    let params = Params::try_from(&parsed).map_err(|_| wanted.to_owned())?;
    if params.m_cost() > MOST_MEMORY || params.t_cost() > 10 {
        return Err(format!("its hash costs too much: at most m={MOST_MEMORY},t=10"));
    }
    Ok(())
}
