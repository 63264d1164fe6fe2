//! The site under test: modules, and a configuration for each row, in a temporary directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, ensure};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use tempfile::TempDir;

use crate::rows::TRIVIAL;
use crate::servers::PORTCULLIS;
use crate::{features, tls};

/// The beginning of every configuration. Idle connections must outlive the longest run.
const PREAMBLE: &str =
    "listen = [\"tcp://127.0.0.1:0\"]\nhttp.keep_alive = \"24h\"\nhttp.connections = 4096\n";

/// The part of a configuration that enables TLS.
const SECURE: &str = "tls.cert = \"cert.pem\"\ntls.key = \"key.pem\"\n";

/// The handlers of this repository, and the test guests, which include one for wasi:http 0.3.
const HANDLERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../handlers");
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests");

/// A directory with all files that servers need.
pub(crate) struct Site {
    dir: TempDir,
    handlers: PathBuf,
    guests: PathBuf,
    /// What clients present, by its placeholder in the fields of a request.
    credentials: [(&'static str, String); 3],
}

/// The user and the password of `basic`.
const USER: &str = "ada";
const PASSWORD: &str = "lovelace";

/// The secret of the tokens with HS256.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

impl Site {
    /// Builds the handlers as a user would. Blocks while the compiler runs.
    ///
    /// # Errors
    /// A handler does not build.
    pub(crate) fn build() -> Result<Site> {
        let dir = tempfile::tempdir().context("make a temporary directory")?;
        fs::write(dir.path().join("trivial.wasm"), wat::parse_str(TRIVIAL)?)?;
        for (name, text) in features::modules() {
            fs::write(dir.path().join(name), wat::parse_str(text)?)?;
        }
        tls::certify(dir.path())?;
        let credentials = credentials(dir.path())?;
        let public = dir.path().join("public");
        fs::create_dir(&public).context("make a directory")?;
        fs::write(public.join("4k.txt"), features::page())?;
        Ok(Site { dir, handlers: build(HANDLERS)?, guests: build(GUESTS)?, credentials })
    }

    /// Returns the directory, which contains the certificate.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces the placeholders of module directories by their paths, and those of credentials.
    pub(crate) fn placed(&self, text: &str) -> String {
        let [handlers, guests] = [&self.handlers, &self.guests].map(|dir| dir.display().to_string());
        let text = text.replace("HANDLERS", &handlers).replace("GUESTS", &guests);
        let replaced = |text: String, (name, value): &(&str, String)| {
            // As the last word of a field: algorithms have the same names.
            text.replace(&format!(" {name}\r\n"), &format!(" {value}\r\n"))
        };
        self.credentials.iter().fold(text, replaced)
    }

    /// Writes the configuration of a row and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn config(&self, name: &str, config: &str, secure: bool) -> Result<PathBuf> {
        let path = self.dir.path().join(format!("{name}.toml"));
        // The access log of the row before takes room, and is not read.
        let _absent = fs::remove_file(self.dir.path().join("access.log"));
        let config = [PREAMBLE, if secure { SECURE } else { "" }, &self.placed(config)].concat();
        fs::write(&path, config).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// Writes what gates verify into a directory, and returns what clients present to them.
fn credentials(dir: &Path) -> Result<[(&'static str, String); 3]> {
    let hash = bcrypt::hash(PASSWORD, 4).context("hash a password")?;
    fs::write(dir.join("users"), format!("{USER}:{hash}\n"))?;
    fs::write(dir.join("secret"), SECRET)?;
    let pair = rcgen::KeyPair::generate()?;
    fs::write(dir.join("es256.pem"), pair.public_key_pem())?;
    let basic = BASE64.encode(format!("{USER}:{PASSWORD}").as_bytes());
    let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der(), &random);
    let key = key.map_err(|error| anyhow!("the key of tokens: {error}"))?;
    let hs256 = token("HS256", |text| Ok(ring::hmac::sign(&hmac, text).as_ref().to_vec()))?;
    let es256 = token("ES256", |text| {
        let signature = key.sign(&random, text).map_err(|_| anyhow!("a token could not be signed"))?;
        Ok(signature.as_ref().to_vec())
    })?;
    Ok([("BASIC", basic), ("HS256", hs256), ("ES256", es256)])
}

/// Makes a token (RFC 7515 §3.1) that expires in a day.
fn token(algorithm: &str, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<String> {
    let expires = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)? + Duration::from_secs(24 * 3600);
    let header = format!("{{\"alg\":{algorithm:?},\"typ\":\"JWT\"}}");
    let claims = format!("{{\"sub\":{USER:?},\"exp\":{}}}", expires.as_secs());
    let text = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.as_bytes())).join(".");
    let signature = BASE64URL_NOPAD.encode(&sign(text.as_bytes())?);
    Ok(format!("{text}.{signature}"))
}

/// Builds a directory of handlers and returns the directory of the modules.
fn build(dir: &'static str) -> Result<PathBuf> {
    let dir = Path::new(dir).canonicalize().context(dir)?;
    let mut build = Command::new(PORTCULLIS);
    build.arg("build").arg(&dir).stdin(Stdio::null()).stdout(Stdio::null());
    let status = build.status().with_context(|| format!("run {PORTCULLIS}"))?;
    ensure!(status.success(), "portcullis build {}: {status}", dir.display());
    Ok(dir.join("build"))
}
