//! Connects to a server, and finds or makes the bucket of a store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State as ConnectionState;
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

/// The bucket of a store, and the connection to its server.
pub(super) struct Bucket {
    name: String,
    client: Client,
    pub(super) jetstream: Context,
    pub(super) stream: Stream<()>,
    /// How many connections there had been when the bucket was last looked for. 0 if it has to be looked for again.
    found_at: AtomicU64,
}

impl Bucket {
    /// Connects to the server, and makes the bucket if there is none.
    ///
    /// # Errors
    /// The server cannot be reached, refuses the credentials, or has no JetStream, or the bucket keeps a history.
    pub(super) async fn open(url: &str, name: &str) -> Result<Bucket, StoreError> {
        let (client, jetstream) = connect(url).await?;
        let connections = connections(&client);
        let stream = find_or_make(&jetstream, name).await?;
        let found_at = AtomicU64::new(connections);
        Ok(Bucket { name: name.to_owned(), client, jetstream, stream, found_at })
    }

    /// Fails at once while there is no connection: what is sent then would be delivered later, unasked for. Behind a new
    /// connection or an error, the server may have lost the bucket, so it is looked for, and made again.
    ///
    /// # Errors
    /// There is no connection, or those of [`open`](Bucket::open).
    pub(super) async fn ready(&self) -> Result<(), StoreError> {
        if self.client.connection_state() != ConnectionState::Connected {
            return Err(StoreError::Unavailable("the connection is down, and is made again".to_owned()));
        }
        let connections = connections(&self.client);
        if self.found_at.load(Ordering::Relaxed) != connections {
            find_or_make(&self.jetstream, &self.name).await?;
            self.found_at.store(connections, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes the error of a request that changes nothing. The next request looks for the bucket first.
    pub(super) fn failed(&self, error: &dyn std::error::Error) -> StoreError {
        self.look_again();
        unavailable(error)
    }

    /// Lets the next request look for the bucket first.
    pub(super) fn look_again(&self) {
        self.found_at.store(0, Ordering::Relaxed);
    }
}

/// Returns how many connections there have been.
fn connections(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// Finds the bucket, or makes it.
///
/// # Errors
/// The server has no JetStream, or the bucket keeps a history.
async fn find_or_make(jetstream: &Context, name: &str) -> Result<Stream<()>, StoreError> {
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
/// Those of [`Bucket::open`].
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
async fn connect(url: &str) -> Result<(Client, Context), StoreError> {
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
