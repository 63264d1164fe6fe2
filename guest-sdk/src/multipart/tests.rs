//! Tests of reading multipart bodies.

use super::*;
use crate::Request;

type Found = Vec<(String, Option<String>, Vec<u8>)>;

fn parts(boundary: &str, body: &[u8]) -> Result<Found, Error> {
    let kind = format!("multipart/form-data; charset=utf-8; boundary={boundary}");
    let mut request = Request::test("POST", "/").header("Content-Type", kind).body(body);
    let mut parts = request.multipart()?;
    let mut found = Vec::new();
    while let Some(mut part) = parts.next_part()? {
        let (name, file) = (part.name().to_owned(), part.file_name().map(str::to_owned));
        let bytes = part.read_bytes(1 << 20)?;
        found.push((name, file, bytes));
    }
    Ok(found)
}

fn part(disposition: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

#[test]
fn parts_come_with_their_names_and_bytes_whatever_is_in_them() {
    // Text that looks like a boundary, at every position of a piece.
    let tricky = b"\r\n--\r\n--c\r\n-\r--b\n--b".repeat(3000);
    let body = [
        b"a preamble\r\n".to_vec(),
        part("name=\"one\"", b""),
        part("name=two; filename=\"a \\\"b\\\" %22c%22; d.txt\"", &tricky),
        part("filename=\"x\"; NAME=\"thr ee\"", b"\r\n"),
        b"--b-- \r\nan epilogue".to_vec(),
    ];

    let found = parts("\"b\"", &body.concat()).unwrap();

    let names: Vec<_> = found.iter().map(|(name, file, _)| (name.as_str(), file.as_deref())).collect();
    assert_eq!(names, [("one", None), ("two", Some("a \"b\" \"c\"; d.txt")), ("thr ee", Some("x"))]);
    assert!(found[0].2.is_empty() && found[1].2 == tricky && found[2].2 == b"\r\n");
}

#[test]
fn a_line_that_begins_as_a_boundary_and_goes_on_is_content() {
    let content = b"one\r\n--bc\r\n--b x\r\n--b-\r\n--b \t-x\r\n--b\rx";
    let padding = [b"\r\n--b".to_vec(), vec![b' '; FIELDS * 2], b"x".to_vec()].concat();
    let tricky = [content.as_slice(), &padding].concat();
    let body =
        [b"--bc\r\n".to_vec(), part("name=a", &tricky), part("name=b", b""), b"--b--".to_vec()].concat();

    let found = parts("b", &body).unwrap();

    assert!(found.len() == 2 && found[0].2 == tricky, "{found:?}");
}

#[test]
fn as_many_bytes_as_there_can_be_may_be_asked_for() {
    let body = [part("name=a", b"all of it"), b"--b--".to_vec()].concat();
    let mut request =
        Request::test("POST", "/").header("Content-Type", "multipart/form-data; boundary=b").body(body);
    let mut parts = request.multipart().unwrap();

    assert_eq!(parts.next_part().unwrap().unwrap().read_text(usize::MAX).unwrap(), "all of it");
}

#[test]
fn what_is_not_read_of_a_part_is_passed_over() {
    let body = [part("name=a", &[b'x'; 100_000]), part("name=b", b"here"), b"--b--".to_vec()].concat();
    let mut request =
        Request::test("POST", "/").header("Content-Type", "multipart/form-data; boundary=b").body(body);
    let mut parts = request.multipart().unwrap();

    let mut first = parts.next_part().unwrap().unwrap();
    assert_eq!(first.read(&mut [0; 10]).unwrap(), 10);
    let mut second = parts.next_part().unwrap().unwrap();

    assert_eq!(second.read_text(4).unwrap(), "here");
    assert!(parts.next_part().unwrap().is_none() && parts.next_part().unwrap().is_none());
}

#[test]
fn what_is_no_form_is_refused_and_what_is_too_much_of_one() {
    let refused = |body: &[u8]| parts("b", body).unwrap_err();
    let many = [part("name=a", b"").repeat(PARTS + 1), b"--b--".to_vec()].concat();
    let wide = part(&format!("name=a; x=\"{}\"", "y".repeat(FIELDS)), b"");
    for body in [
        b"".as_slice(),
        b"no boundary at all",
        b"--b",
        b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nbroken off",
        b"--b\r\nContent-Disposition: form-data\r\n\r\n\r\n--b--",
        b"--b\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n--b--",
        b"--b\r\nno colon\r\n\r\n\r\n--b--",
        b"--bc\r\n",
        &many,
        &wide,
    ] {
        assert_eq!(refused(body).status(), 400, "{:?}", refused(body));
    }
    let large = [part("name=a", &[0; (1 << 20) + 1]), b"--b--".to_vec()].concat();
    assert_eq!(
        (refused(&large).status(), refused(&large).to_string().as_str()),
        (413, "a: more than 1048576 bytes")
    );
    assert_eq!(parts("", b"").unwrap_err().status(), 400);
    assert_eq!(parts(&"b".repeat(71), b"").unwrap_err().status(), 400);
    let other =
        Request::test("POST", "/").header("Content-Type", "text/plain").body("").multipart().map(|_| ());
    assert_eq!(other.unwrap_err().status(), 415);
}
