//! Calls jobs and is called: its arguments select the behaviour.

use portcullis_guest::{JobError, JobStatus, job};
use std::io::{self, Read, Write};
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Err(error) = act(&args) {
        println!("{error:?}");
    }
}

fn act(args: &[&str]) -> Result<(), JobError> {
    match args {
        // As a caller.
        ["call", name, args @ ..] => {
            let called = job(*name).args(args.iter().copied()).env("CALLER", "front").env("FIXED", "forged");
            tell(called.stdin(io::stdin()).run_to(&mut io::stdout())?);
        }
        ["run", name, args @ ..] => tell(job(*name).args(args.iter().copied()).run()?),
        ["wait", name, args @ ..] => {
            let running = job(*name).args(args.iter().copied()).start()?;
            eprintln!("started {name}");
            tell(running.wait()?);
        }
        ["fan", name, most] => {
            let most = most.parse().unwrap_or(0);
            for done in 0..most {
                job(*name).arg("nothing").run().inspect_err(|_| println!("{done} done"))?;
            }
            println!("{most} done");
        }
        ["late", name] => {
            eprintln!("waiting");
            io::copy(&mut io::stdin(), &mut io::sink())?;
            tell(job(*name).run_to(&mut io::stdout())?);
        }
        ["talk", name] => {
            let mut running = job(*name).arg("echo").start()?;
            let mut answer = [0; 4];
            for word in ["ping", "pong"] {
                running.write_all(word.as_bytes())?;
                running.read_exact(&mut answer)?;
                println!("{}", String::from_utf8_lossy(&answer));
            }
            running.close();
            tell(running.wait()?);
        }
        ["leave", name] => {
            let _left = job(*name).arg("sleep").start()?;
            println!("left");
        }
        // As a callee.
        ["upper"] => pass(|piece| piece.make_ascii_uppercase())?,
        ["echo"] => pass(|_| ())?,
        ["count"] => println!("{}", io::copy(&mut io::stdin(), &mut io::sink())?),
        ["pour", bytes] => {
            let bytes = bytes.parse().unwrap_or(0);
            io::copy(&mut io::repeat(b'x').take(bytes), &mut io::stdout())?;
        }
        ["env", ..] => {
            println!("{}", args.join(" "));
            for (name, value) in std::env::vars() {
                println!("{name}={value}");
            }
        }
        ["complain", line] => eprintln!("{line}"),
        ["exit", status] => std::process::exit(status.parse().unwrap_or(1)),
        ["trap"] => panic!("out of cheese"),
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        ["sleep"] => std::thread::sleep(Duration::from_secs(3600)),
        _ => {}
    }
    Ok(())
}

/// Copies stdin to stdout piece by piece.
fn pass(change: impl Fn(&mut [u8])) -> io::Result<()> {
    let mut piece = [0; 8192];
    loop {
        let read = io::stdin().read(&mut piece)?;
        if read == 0 {
            return io::stdout().flush();
        }
        change(&mut piece[..read]);
        io::stdout().write_all(&piece[..read])?;
        io::stdout().flush()?;
    }
}

fn tell(status: JobStatus) {
    match status.fault() {
        Some(fault) => println!("\nstatus {}: {fault:?}", status.code()),
        None => println!("\nstatus {}", status.code()),
    }
}
