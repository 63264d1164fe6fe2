//! Tests of passwords.

use super::*;

/// "lovelace", with this cost.
fn hash(cost: u32) -> PasswordHash {
    PasswordHash::read(&bcrypt::hash("lovelace", cost).unwrap()).unwrap()
}

fn ada() -> Arc<Passwords> {
    Arc::new(Passwords::new(HashMap::from([("ada".to_owned(), hash(4))])).unwrap())
}

/// What a client sends to this gate.
fn sent(gate: &Passwords, user: &str, password: &str) -> BasicCredentials {
    let digest = gate.digest(&format!("{user}:{password}"));
    BasicCredentials { user: user.into(), password: password.as_bytes().to_vec(), digest }
}

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, last]))
}

#[tokio::test]
async fn a_password_opens_for_its_user_alone_and_is_remembered() {
    let passwords = ada();

    for (user, password, wanted) in [
        ("ada", "lovelace", true),
        ("ada", "byron", false),
        ("bob", "lovelace", false),
        ("adal", "ovelace", false),
    ] {
        assert_eq!(
            passwords.verify(sent(&passwords, user, password), None).await.unwrap(),
            wanted,
            "{user} {password}"
        );
    }
    // Nobody verifies any more.
    passwords.permits.close();
    let remembered =
        ["lovelace", "byron"].map(|word| passwords.remembered(&sent(&passwords, "ada", word).digest));
    assert_eq!(remembered.each_ref().map(Option::as_deref), [Some("ada"), None]);
    assert!(passwords.verify(sent(&passwords, "ada", "lovelace"), None).await.unwrap());
    assert!(passwords.verify(sent(&passwords, "ada", "byron"), None).await.is_err());
}

#[tokio::test]
async fn a_crowd_of_guesses_of_one_address_locks_nobody_else_out() {
    let passwords = ada();
    let guesses: Vec<_> = (0..WAITING_OF_ONE).map(|_| passwords.waiting.take(address(1))).collect();
    assert!(guesses.iter().all(Option::is_some));

    assert!(passwords.verify(sent(&passwords, "ada", "lovelace"), address(1)).await.is_err());
    assert!(passwords.verify(sent(&passwords, "ada", "lovelace"), address(2)).await.unwrap());
}

#[tokio::test]
async fn requests_that_bring_the_same_password_at_once_wait_for_one_verification() {
    let passwords = ada();
    for (password, wanted) in [("lovelace", true), ("byron", false)] {
        let all =
            (0..4 * WAITING_OF_ONE).map(|_| passwords.verify(sent(&passwords, "ada", password), address(1)));

        let outcomes = futures_util::future::join_all(all).await;

        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(is_right) if *is_right == wanted)));
    }
}

#[tokio::test]
async fn a_password_in_use_needs_no_place_and_stays_remembered() {
    let passwords = ada();
    assert!(passwords.verify(sent(&passwords, "ada", "lovelace"), address(1)).await.unwrap());
    let (digest, soon) = (sent(&passwords, "ada", "lovelace").digest, Duration::from_secs(30));
    passwords.verified.keep(digest, "ada".into(), soon);
    let _crowd: Vec<_> = (0..255).filter_map(|last| passwords.waiting.take(address(last))).collect();

    assert!(passwords.verify(sent(&passwords, "ada", "lovelace"), address(1)).await.unwrap());

    assert!(passwords.verified.left(&digest) > soon);
    assert!(passwords.verify(sent(&passwords, "ada", "byron"), address(1)).await.is_err(), "all is taken");
}

#[test]
fn a_password_costs_the_same_for_every_user_known_or_not() {
    let users = [("ada", 4), ("bob", 5), ("eve", 5)].map(|(name, cost)| (name.to_owned(), hash(cost)));
    let passwords = Passwords::new(HashMap::from(users)).unwrap();
    let costs = |user: &str| -> Vec<_> {
        passwords.hashes(passwords.users.get(user)).map(PasswordHash::cost).collect()
    };

    assert_eq!(costs("ada").len(), 2);
    for user in ["bob", "eve", "nobody"] {
        assert_eq!(costs(user), costs("ada"), "{user}");
    }
    for user in ["ada", "bob", "eve"] {
        assert!(passwords.is_right(&sent(&passwords, user, "lovelace")), "{user}");
        assert!(!passwords.is_right(&sent(&passwords, user, "byron")), "{user}");
    }
    let many = HashMap::from([4, 5, 6, 7, 8].map(|cost| (cost.to_string(), hash(cost))));
    assert!(Passwords::new(many).err().unwrap().contains("more than 4 different costs"));
}

/// "password", hashed by this algorithm at a low cost.
fn argon2(algorithm: Algorithm) -> String {
    let argon2 = Argon2::new(algorithm, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
    argon2::password_hash::PasswordHasher::hash_password(&argon2, b"password").unwrap().to_string()
}

#[test]
fn a_name_that_nobody_has_costs_what_every_algorithm_of_the_file_costs() {
    let hashes = [
        hash(4),
        PasswordHash::read(&argon2(Algorithm::Argon2id)).unwrap(),
        PasswordHash::read(&argon2(Algorithm::Argon2i)).unwrap(),
    ];
    let users = hashes.clone().map(|hash| (format!("{:?}", hash.cost()), hash));
    let passwords = Passwords::new(HashMap::from(users)).unwrap();

    let costs: Vec<_> = passwords.hashes(None).map(PasswordHash::cost).collect();

    assert_eq!(costs.len(), 3);
    assert!(hashes.iter().all(|hash| costs.contains(&hash.cost())));
}

#[test]
fn a_hash_that_no_password_fits_is_refused_as_it_would_be_verified_at_once() {
    let text = argon2(Algorithm::Argon2id);
    let (salted, _) = text.rsplit_once('$').unwrap();
    let (bare, _) = salted.rsplit_once('$').unwrap();
    let bcrypt = bcrypt::hash("lovelace", 4).unwrap();

    for (text, why) in [
        (salted.to_owned(), "is missing"),
        (bare.to_owned(), "is missing"),
        (text.replace("argon2id", "argon2x"), "not a hash of Argon2"),
        (text.replace("v=19", "v=18"), "not a hash of Argon2"),
        (bcrypt.replace("$04$", "$03$"), "its cost is below 4"),
    ] {
        let refused = PasswordHash::read(&text).unwrap_err();

        assert!(refused.contains(why), "{text}: {refused}");
    }
}

#[test]
fn hashes_of_argon2_and_bcrypt_are_taken_and_no_others() {
    let text = argon2(Algorithm::Argon2id);
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

#[test]
fn a_password_that_is_longer_than_bcrypt_reads_opens_nothing() {
    let longest = "x".repeat(BCRYPT_BYTES);
    let hash = PasswordHash::read(&bcrypt::hash(&longest, 4).unwrap()).unwrap();
    assert!(hash.is_of(longest.as_bytes()) && !hash.is_of(format!("{longest}y").as_bytes()));
}
