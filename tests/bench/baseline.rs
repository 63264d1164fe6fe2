//! The bare server that every row is compared to: hyper as the daemon uses it, and nothing behind it.

use std::convert::Infallible;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::rows::GREETING;

/// Serves on a port of the kernel's choice, named on stderr as the daemon does, until stdin ends:
/// no server is left behind, however the benchmark ends.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind 127.0.0.1:0")?;
        writeln!(std::io::stderr(), "listening on tcp://{}", listener.local_addr()?)?;
        let mut byte = [0];
        // Nothing is ever written to stdin: a read returns when its writer has gone.
        tokio::select! {
            outcome = accept(listener) => outcome,
            _ended = async { tokio::io::stdin().read(&mut byte).await } => Ok(()),
        }
    })
}

async fn accept(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream));
    }
}

async fn connection(stream: TcpStream) {
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    // The client ends connections when it has measured enough.
    let _broken_off = connection.await;
}

/// Greets a GET; gives everything else its body back while it arrives.
async fn answer(request: Request<Incoming>) -> Result<Response<Either<Full<Bytes>, Incoming>>, Infallible> {
    let mut response = if request.method() == Method::GET {
        Response::new(Either::Left(Full::new(Bytes::from_static(GREETING.as_bytes()))))
    } else {
        Response::new(Either::Right(request.into_body()))
    };
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    Ok(response)
}
