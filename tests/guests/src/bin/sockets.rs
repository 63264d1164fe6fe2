//! Tries every kind of socket, and reports the outcome of each.

use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};

fn main() {
    let address = std::env::args().nth(1).unwrap_or_default();
    let end = |works: bool| if works { "works" } else { "failed" };
    println!("Content-Type: text/plain\n");
    println!("connect {}", end(TcpStream::connect(&address).is_ok()));
    println!("listen {}", end(TcpListener::bind("127.0.0.1:0").is_ok()));
    println!("lookup {}", end("localhost:80".to_socket_addrs().is_ok()));
    let udp = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"x", &address));
    println!("udp {}", end(udp.is_ok()));
}
