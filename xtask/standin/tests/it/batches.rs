//! Tests of batch requests.

use crate::request::{Answer, Request, answers, batch};
use crate::{MIB, ask, send, server};

const ONE: [u8; 8] = 1u64.to_be_bytes();

fn ask_all(server: &standin::Server, request: &[u8]) -> Vec<Answer> {
    let (out, end) = send(server, request);
    end.unwrap();
    let answers = answers(&out);
    assert!(answers.last().unwrap().last, "a batch ends with a mark");
    answers
}

fn codes(answers: &[Answer]) -> Vec<(u32, u8)> {
    answers.iter().map(|answer| (answer.index, answer.code)).collect()
}

#[test]
fn reads_are_answered_row_by_row() {
    let server = server();
    for digest in [1, 3] {
        ask(&server, &Request { digest, ..Request::put(&[(2, 1, "n", &ONE), (2, 3, "s", b"x")]) });
    }
    let get = |digest| Request { digest, ..Request::get() };
    let some = Request { info: [1, 0, 0, 0], ops: vec![(1, 0, "s", b"")], digest: 3, ..Request::default() };
    let rows = [get(1).row(10, false), get(2).row(11, true), some.row(12, false)];
    let answers = ask_all(&server, &batch(3, &rows));
    assert_eq!(codes(&answers), [(10, 0), (11, 2), (12, 0), (0, 0)]);
    assert_eq!(answers[0].bins.len(), 2);
    assert_eq!(answers[2].bins, [("s".to_owned(), 3, b"x".to_vec())]);
}

#[test]
fn rows_can_write_and_remove() {
    let server = server();
    let put = Request::put(&[(2, 1, "n", &ONE)]);
    let rows = [
        put.row(0, false),
        Request { digest: 2, ..put.clone() }.row(1, true),
        Request { ttl: 10, ..put.clone() }.row(2, false),
        Request { info: [0, 1 | 4, 0, 0], generation: 7, ..put.clone() }.row(3, false),
        Request { digest: 2, ..Request::remove() }.row(4, false),
    ];
    let answers = ask_all(&server, &batch(5, &rows));
    assert_eq!(codes(&answers), [(0, 0), (1, 0), (2, 0), (3, 3), (4, 0), (0, 0)]);
    assert_eq!((answers[2].generation, answers[2].void_time > 0), (2, true));
    assert_eq!(ask(&server, &Request { digest: 2, ..Request::get() }).code, 2);
}

#[test]
fn without_reports_row_by_row_the_first_error_is_that_of_the_whole() {
    let server = server();
    let bad = Request::put(&[(5, 3, "n", b"x"), (2, 99, "n", b"")]);
    let mut request = batch(2, &[bad.row(0, false), Request { digest: 9, ..Request::get() }.row(1, false)]);
    let flags = 8 + 22 + 4 + 1 + 4;
    assert_eq!(request[flags], 5);
    request[flags] = 1;
    assert_eq!(codes(&ask_all(&server, &request)), [(0, 4)]);
    request[flags] = 1 | 8;
    assert_eq!(codes(&ask_all(&server, &request)), [(0, 4), (1, 2), (0, 4)], "with the row that failed");
}

#[test]
fn rows_that_are_wrong_end_the_batch_with_a_code() {
    let server = server();
    let get = Request::get();
    let whole = |request: &[u8]| ask_all(&server, request).last().unwrap().code;
    assert_eq!(whole(&batch(0, &[])), 4, "no rows");
    assert_eq!(whole(&batch(5001, &[])), 151, "too many");
    assert_eq!(whole(&batch(2, &[get.row(0, false)])), 4, "fewer than it says");
    assert_eq!(whole(&batch(1, &[get.row(0, true)])), 4, "nothing to repeat");
    let other = Request { namespace: "other", ..get };
    assert_eq!(whole(&batch(1, &[other.row(0, false)])), 4);
}

#[test]
fn answers_longer_than_a_frame_come_in_several() {
    let server = server();
    let blob = vec![7; MIB / 2];
    ask(&server, &Request::put(&[(2, 4, "b", &blob)]));
    let rows: Vec<_> = (0..50).map(|index| Request::get().row(index, index > 0)).collect();
    let answers = ask_all(&server, &batch(50, &rows));
    assert_eq!(answers.len(), 51);
    assert!(answers[..50].iter().all(|answer| answer.bins[0].2 == blob));
}

/// 5,000 rows that repeat one with 32,767 writes to different bins: half a megabyte, which would take hours without a
/// limit.
#[test]
fn the_work_of_one_message_is_limited() {
    let server = server();
    let names: Vec<String> = (0..0x7fff).map(|number| format!("{number:x}")).collect();
    let ops: Vec<(u8, u8, &str, &[u8])> = names.iter().map(|name| (2, 1, name.as_str(), &ONE[..])).collect();
    let put = Request::put(&ops);
    let rows: Vec<_> = (0..5000).map(|index| put.row(index, index > 0)).collect();
    let answers = ask_all(&server, &batch(5000, &rows));
    assert_eq!((answers[0].code, answers[4999].code), (0, 151));
    // Completed rows count, and the next message has a new budget.
    let answer = ask(&server, &Request::get());
    assert_eq!((answer.code, answer.bins.len()), (0, 0x7fff));
    // A value that each operation extends by one byte.
    let long = vec![b'x'; 700_000];
    let mut ops: Vec<(u8, u8, &str, &[u8])> = vec![(2, 3, "s", &long)];
    ops.extend(vec![(9, 3, "s", &b"x"[..]); 10_000]);
    assert_eq!(ask(&server, &Request { digest: 7, ..Request::put(&ops) }).code, 151);
}

#[test]
fn bins_are_found_among_many() {
    let server = server();
    let names: Vec<String> = (0..2000).map(|number| format!("{number:x}")).collect();
    let ops: Vec<(u8, u8, &str, &[u8])> = names.iter().map(|name| (2, 1, name.as_str(), &ONE[..])).collect();
    assert_eq!(ask(&server, &Request::put(&ops)).code, 0);
    let removed: Vec<(u8, u8, &str, &[u8])> =
        names[..1999].iter().map(|name| (2, 0, name.as_str(), &b""[..])).collect();
    assert_eq!(ask(&server, &Request::put(&removed)).code, 0);
    assert_eq!(ask(&server, &Request::get()).bins, [(names[1999].clone(), 1, ONE.to_vec())]);
}
