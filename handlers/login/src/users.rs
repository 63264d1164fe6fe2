//! The users, each with the hash of a password.

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, Version};
use std::hint::black_box;

/// The most memory of a hash, in KiB: the sandbox has 64 MiB.
const MOST_MEMORY: u32 = 46 << 10;

/// The longest password, in bytes.
const LONGEST: usize = 1024;

/// How many different costs the hashes may have: a password is verified once at each.
const MOST_COSTS: usize = 4;

/// Users, each with the hash of a password.
pub(crate) struct Users {
    users: Vec<User>,
    /// One user of each cost, by its place in `users`. Its hash is verified in place of a hash that another user lacks. The
    /// cost with most memory is first: the memory that it frees is enough for the others.
    decoys: Vec<usize>,
}

struct User {
    name: String,
    hash: String,
    cost: HashCost,
}

/// What the verification of a hash costs.
#[derive(Clone, Copy, PartialEq, Eq)]
struct HashCost {
    /// In KiB.
    memory: u32,
    passes: u32,
    lanes: u32,
    version: Version,
}

impl Users {
    /// Reads pairs `NAME:$argon2id$...` with blanks between them.
    pub(crate) fn read(text: &str) -> Result<Users, String> {
        let (mut users, mut decoys) = (Vec::<User>::new(), Vec::<usize>::new());
        for pair in text.split_whitespace() {
            let (name, hash) = pair.split_once(':').ok_or("USERS: write NAME:HASH")?;
            let cost = HashCost::of(hash).map_err(|why| format!("USERS: {name}: {why}"))?;
            if !decoys.iter().any(|place| users[*place].cost == cost) {
                decoys.push(users.len());
            }
            if decoys.len() > MOST_COSTS {
                return Err(format!(
                    "USERS: the hashes have more than {MOST_COSTS} different costs: use fewer"
                ));
            }
            users.push(User { name: name.to_owned(), hash: hash.to_owned(), cost });
        }
        decoys.sort_by_key(|place| std::cmp::Reverse(users[*place].cost.memory));
        if users.is_empty() { Err("USERS is empty".to_owned()) } else { Ok(Users { users, decoys }) }
    }

    /// Returns the hash of a user's password.
    pub(crate) fn hash(&self, name: &str) -> Option<&str> {
        self.find(name).map(|user| user.hash.as_str())
    }

    fn find(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Returns the hash of the password if it is that of the user. All users cost the same time, known or not.
    pub(crate) fn verify(&self, name: &str, password: &str) -> Option<&str> {
        if password.len() > LONGEST {
            return None;
        }
        let own = self.find(name);
        let mut is_right = false;
        for user in self.verified(own) {
            let fits = Argon2::default().verify_password(password.as_bytes(), user.hash.as_str()).is_ok();
            is_right |= black_box(fits) && own.is_some_and(|own| std::ptr::eq(own, user));
        }
        own.filter(|_| is_right).map(|own| own.hash.as_str())
    }

    /// Iterates over the users against whose hashes a password is verified: the user itself, and one of every other cost.
    fn verified<'u>(&'u self, own: Option<&'u User>) -> impl Iterator<Item = &'u User> {
        let decoys = self.decoys.iter().map(|place| &self.users[*place]);
        decoys.map(move |decoy| own.filter(|own| own.cost == decoy.cost).unwrap_or(decoy))
    }
}

impl HashCost {
    /// Reads the cost of a hash.
    ///
    /// # Errors
    /// The text is no hash that a password can fit, or costs too much.
    fn of(hash: &str) -> Result<HashCost, String> {
        let wanted = || "wanted a hash of Argon2id, as `argon2 SALT -id -e` prints it".to_owned();
        if !hash.starts_with("$argon2id$") {
            return Err(wanted());
        }
        let parsed = PasswordHash::new(hash).map_err(|_| wanted())?;
        let params = Params::try_from(&parsed).map_err(|_| wanted())?;
        let version = parsed.version.map(Version::try_from).transpose().map_err(|_| wanted())?;
        // Without these, a password would be refused at once, and so tell which users have such a hash.
        if parsed.salt.is_none() || parsed.hash.is_none() {
            return Err(wanted());
        }
        let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
        if memory > MOST_MEMORY || passes > 10 {
            return Err(format!("its hash costs too much: at most m={MOST_MEMORY},t=10"));
        }
        Ok(HashCost { memory, passes, lanes, version: version.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::Algorithm;
    use argon2::password_hash::PasswordHasher as _;

    /// Hashes "lovelace" with this much memory, in KiB.
    fn hash(memory: u32) -> String {
        let params = Params::new(memory, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password(b"lovelace").unwrap().to_string()
    }

    #[test]
    fn a_wrong_name_takes_as_long_as_a_wrong_password_whichever_cost_its_hash_has() {
        let users = format!("ada:{} bob:{} eve:{}", hash(16), hash(64), hash(64));
        let users = Users::read(&users).unwrap();
        let memory = |name: &str| -> Vec<u32> {
            users.verified(users.find(name)).map(|user| user.cost.memory).collect()
        };

        for name in ["ada", "bob", "eve", "nobody", ""] {
            assert_eq!(memory(name), [64, 16], "{name}");
        }
        for name in ["ada", "bob", "eve"] {
            assert_eq!(users.verify(name, "lovelace"), users.hash(name), "{name}");
            assert_eq!(users.verify(name, "byron"), None, "{name}");
        }
        assert_eq!(users.verify("nobody", "lovelace"), None);
    }

    #[test]
    fn costs_of_hashes_are_few_and_all_parts_are_there() {
        let many: Vec<_> = [8, 16, 24, 32, 40].map(|memory| format!("u{memory}:{}", hash(memory))).into();
        let whole = hash(8);
        let (salted, _) = whole.rsplit_once('$').unwrap();

        assert!(Users::read(&many.join(" ")).is_err_and(|why| why.contains("more than 4 different costs")));
        assert!(Users::read(&many[1..].join(" ")).is_ok());
        for hash in [salted, &whole.replace("v=19", "v=18")] {
            assert!(Users::read(&format!("ada:{hash}")).is_err_and(|why| why.contains("Argon2id")), "{hash}");
        }
    }
}
