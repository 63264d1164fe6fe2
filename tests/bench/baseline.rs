//! The baseline server for every row: hyper as the daemon uses it, without a sandbox.

use std::convert::Infallible;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_TYPE, ETAG, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::features;
use crate::rows::GREETING;
use crate::tls;

/// The version of HTTP that the bare server speaks.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tongue {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Serves on a free port, which it prints on stderr like the daemon, until stdin ends. No server is therefore left
/// behind, however the benchmark ends. With a directory that contains a certificate, it serves over TLS.
pub(crate) fn serve(tongue: Tongue, certificate: Option<&Path>) -> Result<()> {
    let tls =
        certificate.map(|dir| tls::server(dir, tongue)).transpose()?.map(Arc::new).map(TlsAcceptor::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind 127.0.0.1:0")?;
        writeln!(std::io::stderr(), "listening on tcp://{}", listener.local_addr()?)?;
        let mut byte = [0];
        // Nothing is ever written to stdin, so a read returns only when the writer has gone.
        tokio::select! {
            outcome = accept(listener, tongue, tls) => outcome,
            _ended = async { tokio::io::stdin().read(&mut byte).await } => Ok(()),
        }
    })
}

async fn accept(listener: TcpListener, tongue: Tongue, tls: Option<TlsAcceptor>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, tongue, tls.clone()));
    }
}

async fn connection(stream: TcpStream, tongue: Tongue, tls: Option<TlsAcceptor>) {
    match tls {
        None => converse(stream, tongue).await,
        Some(tls) => {
            // The client closes connections when its measurement is over.
            if let Ok(stream) = tls.accept(stream).await {
                converse(stream, tongue).await;
            }
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, tongue: Tongue) {
    let io = TokioIo::new(stream);
    let _broken_off = match tongue {
        Tongue::Http1 => http1::Builder::new().serve_connection(io, service_fn(answer)).await,
        Tongue::Http2 => {
            http2::Builder::new(TokioExecutor::new()).serve_connection(io, service_fn(answer)).await
        }
    };
}

/// The page of the rows with 4 KiB.
static PAGE: LazyLock<Bytes> = LazyLock::new(|| features::page().into());

/// The fields that a static file has besides its type.
const OF_FILE: [(HeaderName, HeaderValue); 4] = [
    (ETAG, HeaderValue::from_static("\"18a1c2d3e4f50617-1000\"")),
    (LAST_MODIFIED, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
];

/// The path of the page with the fields that a static file has.
const FILE: &str = "/file/4k.txt";

/// Greets a GET, or answers with the page if it is asked for. Greets any other request when its body is complete, or sends
/// the body back as it arrives if that is asked for.
async fn answer(request: Request<Incoming>) -> Result<Response<Either<Full<Bytes>, Incoming>>, Infallible> {
    let greeting = Bytes::from_static(GREETING.as_bytes());
    let is_file = request.uri().path() == FILE;
    let body = match (request.method(), request.uri().path()) {
        (&Method::GET, "/4k.txt" | FILE) => Either::Left(Full::new(PAGE.clone())),
        (&Method::GET, _) => Either::Left(Full::new(greeting)),
        (_, "/echo") => Either::Right(request.into_body()),
        _ => {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            Either::Left(Full::new(greeting))
        }
    };
    let mut response = Response::new(body);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    if is_file {
        response.headers_mut().extend(OF_FILE);
    }
    Ok(response)
}
