//! Does what its stdin says to files, a line an operation, and says how each ended.

use std::fs::{self, File};
use std::io::{self, BufRead};

fn main() {
    for line in io::stdin().lock().lines() {
        let line = line.unwrap_or_default();
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let outcome = operate(&word(), &word(), &word());
        match outcome {
            Ok(said) => println!("ok {said}"),
            Err(error) => println!("failed {:?}", error.kind()),
        }
    }
}

fn operate(verb: &str, one: &str, other: &str) -> io::Result<String> {
    match verb {
        "read" => fs::read_to_string(one),
        "write" => fs::write(one, other).map(|()| String::new()),
        "remove" => fs::remove_file(one).map(|()| String::new()),
        "rename" => fs::rename(one, other).map(|()| String::new()),
        "list" => {
            let names = fs::read_dir(one)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<io::Result<Vec<_>>>()?;
            names.sort();
            Ok(names.join(","))
        }
        "hoard" => {
            let most = other.parse().unwrap_or(0);
            let held: Vec<File> = std::iter::from_fn(|| File::open(one).ok()).take(most).collect();
            Ok(held.len().to_string())
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}
