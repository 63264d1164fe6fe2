//! Panics some frames deep, with a message.

fn main() {
    outer(std::env::args().count());
}

#[inline(never)]
fn outer(arguments: usize) {
    inner(arguments);
    println!("not reached");
}

#[inline(never)]
fn inner(arguments: usize) {
    panic!("out of cheese with {arguments} argument");
}
