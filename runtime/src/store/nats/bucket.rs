//! Connects to a server, and finds or makes the bucket of a store.

use std::time::Duration;

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectOptions};
use percent_encoding::percent_decode_str;

use super::refused::unavailable;
use crate::store::error::StoreError;
use crate::store::url;

/// The longest wait for an answer: below the time of an operation, so that the error names its cause.
const NATS_ANSWER: Duration = Duration::from_secs(4);

/// The most messages that wait to be sent, of up to 1 MiB each. They stay in memory when their job ends.
const AHEAD: usize = 64;

/// Opens the bucket, or makes it.
///
/// # Errors
/// The server has no JetStream, or the bucket keeps a history.
pub(super) async fn open(jetstream: &Context, name: &str) -> Result<Stream<()>, StoreError> {
    // As NATS's own clients make a bucket, so that `nats kv` reads it.
    let bucket = Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_bytes: -1,
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        num_replicas: 1,
        ..Config::default()
    };
    let stream = jetstream.get_or_create_stream(bucket).await.map_err(|error| unavailable(&error))?;
    check(name, &stream.cached_info().config)?;
    let bucket = jetstream.get_stream_no_info(format!("KV_{name}")).await;
    bucket.map_err(|error| unavailable(&error))
}

/// Checks whether the bucket can be opened. Makes none.
///
/// # Errors
/// Those of [`open`].
pub(in crate::store) async fn examine(url: &str, name: &str) -> Result<(), StoreError> {
    let (_client, jetstream) = connect(url).await?;
    match jetstream.get_stream(format!("KV_{name}")).await {
        Ok(stream) => check(name, &stream.cached_info().config),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(())
            }
            _ => Err(unavailable(&error)),
        },
    }
}

/// Connects to the server.
///
/// # Errors
/// It cannot be reached, or refuses the credentials.
pub(super) async fn connect(url: &str) -> Result<(Client, Context), StoreError> {
    let (scheme, user, hosts) = url::split(url);
    let options =
        ConnectOptions::new().name("portcullis").request_timeout(Some(NATS_ANSWER)).client_capacity(AHEAD);
    // Also to servers that it learns from another one, whose addresses have no scheme.
    let options = options.require_tls(scheme == "tls");
    // The client would send what stands in the URL as it is, percent-encoded.
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let options = match user.map(|user| user.split_once(':').ok_or(user)) {
        None => options,
        Some(Ok((user, password))) => options.user_and_password(decode(user), decode(password)),
        Some(Err(token)) => options.token(decode(token)),
    };
    // A server without a scheme is taken for nats://.
    let servers: Vec<String> = hosts.split(',').map(|host| format!("{scheme}://{}", bare(host))).collect();
    let client = options.connect(servers).await.map_err(|error| unavailable(&error))?;
    let mut jetstream = jetstream::new(client.clone());
    jetstream.set_timeout(NATS_ANSWER);
    Ok((client, jetstream))
}

/// Returns the host and port of a further server, which may be written as a URL.
fn bare(server: &str) -> &str {
    server.split_once("://").map_or(server, |(_, host)| host)
}

/// Checks a bucket that was found. Its replicas are the operator's to choose.
fn check(name: &str, config: &Config) -> Result<(), StoreError> {
    if config.max_messages_per_subject != 1 {
        return Err(StoreError::Unavailable(format!(
            "the bucket {name} keeps a history: choose another name for the store, or delete the bucket"
        )));
    }
    if config.max_bytes > 0 {
        tracing::warn!(
            "store {name}: its bucket has max_bytes = {}, where the server deletes entries: set it to -1",
            config.max_bytes
        );
    }
    Ok(())
}
