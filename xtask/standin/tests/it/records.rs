//! Tests of single records: all value types, and the conditions of requests.

use crate::request::{Op, Request};
use crate::{MIB, ask, server};

const ONE: [u8; 8] = 1u64.to_be_bytes();
const INTEGER: u8 = 1;
const STRING: u8 = 3;
const NULL: u8 = 0;

const OK: u8 = 0;
const NOT_FOUND: u8 = 2;
const GENERATION: u8 = 3;
const PARAMETER: u8 = 4;
const EXISTS: u8 = 5;
const OUT_OF_SPACE: u8 = 8;
const INCOMPATIBLE: u8 = 12;
const TOO_BIG: u8 = 13;
const UNSUPPORTED: u8 = 16;
const KEY_MISMATCH: u8 = 19;
const NO_NAMESPACE: u8 = 20;
const BIN_NAME: u8 = 21;
const ENTERPRISE: u8 = 25;

fn n(value: &[u8]) -> Op<'_> {
    (2, INTEGER, "n", value)
}

#[test]
fn every_type_comes_back_as_it_went() {
    let server = server();
    let point = [b"\0\0\0", &br#"{"type":"Point","coordinates":[8.5,47.4]}"#[..]].concat();
    let values: [(u8, &[u8]); 9] = [
        (1, &ONE),
        (2, &1.5f64.to_be_bytes()),
        (3, "Zürich".as_bytes()),
        (4, &[0, 255]),
        (17, &[1]),
        (19, &[0x81, 1, 0x91, 0xc0]),
        (20, &[0x92, 0xa2, 3, b'a', 0xcb, 0, 0, 0, 0, 0, 0, 0, 0]),
        (23, &point),
        (18, b"sketch"),
    ];
    let names: Vec<String> = values.iter().map(|(particle, _)| format!("p{particle}")).collect();
    let ops: Vec<Op> =
        values.iter().zip(&names).map(|((particle, value), name)| (2, *particle, name.as_str(), *value)).collect();
    assert_eq!(ask(&server, &Request::put(&ops)).code, OK);
    let answer = ask(&server, &Request::get());
    assert_eq!((answer.code, answer.generation, answer.void_time), (OK, 1, 0));
    let kept: Vec<(u8, &[u8])> = answer.bins.iter().map(|(_, particle, value)| (*particle, &value[..])).collect();
    assert_eq!(kept, values);
}

#[test]
fn what_is_not_there_is_not_found() {
    let server = server();
    for request in [
        Request::get(),
        Request::exists(),
        Request::remove(),
        Request::put(&[(11, 0, "", b"")]),
        Request::put(&[(2, NULL, "n", b"")]),
        Request { info: [0, 1, 1 << 3, 0], ..Request::put(&[n(&ONE)]) },
        Request { info: [0, 1, 1 << 5, 0], ..Request::put(&[n(&ONE)]) },
    ] {
        assert_eq!(ask(&server, &request).code, NOT_FOUND, "{:?}", request.info);
    }
    assert_eq!(ask(&server, &Request::put(&[n(&ONE)])).code, OK);
    assert_eq!(ask(&server, &Request::exists()).bins.len(), 0);
    assert_eq!(ask(&server, &Request::remove()).code, OK);
    assert_eq!(ask(&server, &Request::get()).code, NOT_FOUND);
}

#[test]
fn selected_bins_leave_out_what_is_missing() {
    let server = server();
    ask(&server, &Request::put(&[n(&ONE), (2, STRING, "s", b"x")]));
    let some = Request { info: [1, 0, 0, 0], ops: vec![(1, 0, "s", b""), (1, 0, "gone", b"")], ..Request::default() };
    assert_eq!(ask(&server, &some).bins, [("s".to_owned(), STRING, b"x".to_vec())]);
    let all = Request { info: [1, 1 << 7, 0, 0], ..some };
    assert_eq!(ask(&server, &all).bins.len(), 2);
}

#[test]
fn writes_replace_bins_one_by_one_or_all() {
    let server = server();
    ask(&server, &Request::put(&[n(&ONE), (2, STRING, "s", b"x")]));
    ask(&server, &Request::put(&[(2, STRING, "n", b"y"), (2, NULL, "s", b"")]));
    assert_eq!(ask(&server, &Request::get()).bins, [("n".to_owned(), STRING, b"y".to_vec())]);
    ask(&server, &Request { info: [0, 1, 1 << 4, 0], ..Request::put(&[(2, STRING, "t", b"z")]) });
    let answer = ask(&server, &Request::get());
    assert_eq!((answer.generation, &answer.bins[..]), (3, &[("t".to_owned(), STRING, b"z".to_vec())][..]));
    // A record without bins is removed.
    assert_eq!(ask(&server, &Request::put(&[(2, NULL, "t", b"")])).code, OK);
    assert_eq!(ask(&server, &Request::get()).code, NOT_FOUND);
}

#[test]
fn generations_are_compared_where_a_client_asks() {
    let server = server();
    ask(&server, &Request::put(&[n(&ONE)]));
    let expect = |generation, bits: u8| Request { info: [0, 1 | bits, 0, 0], generation, ..Request::put(&[n(&ONE)]) };
    assert_eq!(ask(&server, &expect(2, 4)).code, GENERATION);
    assert_eq!(ask(&server, &expect(1, 4)).code, OK);
    assert_eq!(ask(&server, &expect(2, 8)).code, GENERATION);
    assert_eq!(ask(&server, &expect(3, 8)).code, OK);
    assert_eq!(ask(&server, &Request { info: [0, 3 | 4, 0, 0], generation: 9, ..Request::remove() }).code, GENERATION);
    assert_eq!(ask(&server, &expect(0, 32)).code, EXISTS);
}

#[test]
fn records_expire_and_can_be_kept_alive() {
    let server = server();
    let put = |ttl| Request { ttl, ..Request::put(&[n(&ONE)]) };
    ask(&server, &put(10));
    let until = ask(&server, &Request::get()).void_time;
    assert!(until > 0);
    assert_eq!(ask(&server, &put(u32::MAX - 1)).void_time, until, "-2 keeps the expiry");
    server.advance(5);
    ask(&server, &Request { ttl: 10, ..Request::put(&[(11, 0, "", b"")]) });
    server.advance(8);
    assert_eq!(ask(&server, &Request::get()).code, OK);
    server.advance(10);
    assert_eq!(ask(&server, &Request::get()).code, NOT_FOUND);
    assert_eq!(ask(&server, &put(0)).generation, 1, "a new record");
    assert_eq!(ask(&server, &put(10)).generation, 2);
    assert_eq!(ask(&server, &put(u32::MAX)).void_time, 0, "-1 never expires");
    assert_eq!(ask(&server, &put(3600 * 24 * 365 * 10 + 1)).code, PARAMETER);
}

#[test]
fn an_expired_record_gives_its_memory_back() {
    let server = server();
    ask(&server, &Request { ttl: 10, ..Request::put(&[(2, 4, "b", &vec![0; 100_000])]) });
    assert!(server.memory_used() > 100_000);
    server.advance(20);
    server.sweep();
    assert_eq!(server.memory_used(), 0);
}

#[test]
fn operations_are_done_in_order_and_all_or_none() {
    let server = server();
    let increment = |name| (5, INTEGER, name, &ONE[..]);
    let operate = Request { info: [1, 1, 0, 0], ops: vec![increment("n"), (1, 0, "n", b"")], ..Request::default() };
    assert_eq!(ask(&server, &operate).bins, [("n".to_owned(), INTEGER, ONE.to_vec())]);
    assert_eq!(ask(&server, &operate).bins[0].2, 2u64.to_be_bytes());
    ask(&server, &Request::put(&[(2, STRING, "s", b"x")]));
    let answer = ask(&server, &Request::put(&[increment("n"), increment("s")]));
    assert_eq!(answer.code, INCOMPATIBLE);
    assert_eq!(ask(&server, &operate).bins[0].2, 3u64.to_be_bytes(), "the first half was not done");
    let append = Request::put(&[(9, STRING, "s", b"y"), (10, STRING, "s", b"w")]);
    assert_eq!(ask(&server, &append).code, OK);
    assert_eq!(ask(&server, &Request::get()).bins[1].2, b"wxy");
}

#[test]
fn reading_all_in_a_write_is_an_operation_without_a_name() {
    let server = server();
    let ops = vec![n(&ONE), (1, 0, "", &b""[..])];
    let operate = Request { info: [3, 1, 0, 0], ops, ..Request::default() };
    assert_eq!(ask(&server, &operate).bins.len(), 1);
    assert_eq!(ask(&server, &Request { info: [3, 1, 0, 0], ops: vec![n(&ONE)], ..Request::default() }).code, PARAMETER);
    assert_eq!(ask(&server, &Request { info: [0, 1, 0, 0], ..operate }).code, PARAMETER);
}

#[test]
fn a_key_that_was_sent_along_must_be_the_same() {
    let server = server();
    let put = |key| Request { key: Some(key), ..Request::put(&[n(&ONE)]) };
    assert_eq!(ask(&server, &put(b"\x03a")).code, OK);
    assert_eq!(ask(&server, &put(b"\x03b")).code, KEY_MISMATCH);
    assert_eq!(ask(&server, &Request { key: Some(b"\x03b"), ..Request::remove() }).code, KEY_MISMATCH);
    assert_eq!(ask(&server, &Request { key: Some(b"\x03a"), ..Request::get() }).code, OK);
    assert_eq!(ask(&server, &Request { digest: 2, ..put(b"\x01abc") }).code, UNSUPPORTED);
}

#[test]
fn the_limits_of_a_server_hold() {
    let server = server();
    let long = "a".repeat(16);
    assert_eq!(ask(&server, &Request::put(&[(2, INTEGER, &long, &ONE)])).code, BIN_NAME);
    assert_eq!(ask(&server, &Request::put(&[(2, 4, "b", &vec![0; MIB])])).code, TOO_BIG);
    assert_eq!(ask(&server, &Request::put(&[(2, 4, "b", &vec![0; MIB - 100])])).code, OK);
    assert_eq!(ask(&server, &Request { namespace: "other", ..Request::get() }).code, NO_NAMESPACE);
    assert_eq!(ask(&server, &Request::put(&[])).code, PARAMETER);
    assert_eq!(ask(&server, &Request { info: [1, 0, 0, 0], ..Request::default() }).code, PARAMETER);
    assert_eq!(ask(&server, &Request::default()).code, PARAMETER, "neither read nor write");
}

#[test]
fn what_is_not_done_here_is_refused_by_code() {
    let server = server();
    ask(&server, &Request::put(&[n(&ONE)]));
    for code in [4, 8, 13, 16] {
        assert_eq!(ask(&server, &Request::put(&[(code, 4, "n", b"x")])).code, UNSUPPORTED, "{code}");
    }
    for code in [3, 7, 12, 15] {
        let request = Request { info: [1, 0, 0, 0], ops: vec![(code, 4, "n", b"x")], ..Request::default() };
        assert_eq!(ask(&server, &request).code, UNSUPPORTED, "{code}");
    }
    assert_eq!(ask(&server, &Request::put(&[(99, 4, "n", b"x")])).code, PARAMETER);
    assert_eq!(ask(&server, &Request { info: [0, 3 | 1 << 4, 0, 0], ..Request::remove() }).code, ENTERPRISE);
    assert_eq!(ask(&server, &Request { info: [1, 0, 0, 1], ..Request::get() }).code, ENTERPRISE);
}

#[test]
fn a_full_memory_refuses_writes_and_still_reads() {
    let server = server();
    let blob = vec![0; MIB - 100];
    let code = |digest| ask(&server, &Request { digest, ..Request::put(&[(2, 4, "b", &blob)]) }).code;
    let codes: Vec<u8> = (0..80).map(code).collect();
    assert_eq!(codes[0], OK);
    assert_eq!(codes[79], OUT_OF_SPACE);
    assert!(server.memory_used() <= 64 * MIB);
    assert_eq!(ask(&server, &Request { digest: 0, ..Request::get() }).code, OK);
    assert_eq!(ask(&server, &Request { digest: 0, ..Request::remove() }).code, OK);
    assert_eq!(code(79), OK);
}
