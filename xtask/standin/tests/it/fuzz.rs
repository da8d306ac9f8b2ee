//! Fuzz test with randomly modified valid messages: none may crash or block the server, or exhaust its memory.
//!
//! A short run is part of every test run. Long run: `FUZZ_INPUTS=10000000 cargo test --release -p standin fuzz --
//! --nocapture`; `FUZZ_SEED` repeats a run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::MIB;
use crate::request::{Op, Request, batch, frame, info};

const INPUTS: u64 = 20_000;
/// Memory limit of the server, and allowance for tables and messages.
const MEMORY: usize = 16 * MIB;
const RESIDENT: u64 = 256 * MIB as u64;
/// Time after which an input counts as hanging; most take microseconds.
const HANG: Duration = Duration::from_secs(60);

/// Reproducible xorshift64* generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Returns one message of each kind that clients send.
fn valid() -> Vec<Vec<u8>> {
    let one = 1u64.to_be_bytes();
    let half = 0.5f64.to_be_bytes();
    let map = [0x82, 0xa2, 3, b'b', 0x92, 1, 0x81, 2, 0xc0, 0xa2, 3, b'a', 0xcf, 0, 0, 0, 0, 0, 0, 0, 1];
    let list = [0x93, 0xc7, 0, 1, 0xa3, 4, 0, 1, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0];
    let point = [b"\0\0\0", &br#"{"type":"Point","coordinates":[8.5,47.4]}"#[..]].concat();
    let ops: Vec<Op> = vec![
        (2, 1, "int", &one),
        (2, 2, "float", &half),
        (2, 3, "text", b"text"),
        (2, 4, "blob", &[0, 1, 2, 3]),
        (2, 17, "bool", &[1]),
        (2, 19, "map", &map),
        (2, 20, "list", &list),
        (2, 23, "geo", &point),
        (2, 0, "none", b""),
    ];
    let put = Request { key: Some(b"\x03key"), ..Request::put(&ops) };
    let operate = Request {
        info: [1, 1 | 1 << 7, 0, 0],
        ops: vec![
            (5, 1, "int", &one),
            (9, 3, "text", b"x"),
            (10, 3, "text", b"y"),
            (11, 0, "", b""),
            (1, 0, "int", b""),
        ],
        ..Request::default()
    };
    let some = Request { info: [1, 0, 0, 0], ops: vec![(1, 0, "int", b""), (1, 0, "gone", b"")], ..Request::default() };
    let rows = [put.row(0, false), Request::get().row(1, false), Request::get().row(2, true), operate.row(3, false)];
    vec![
        put.message(),
        Request { ttl: 5, generation: 1, ..put.clone() }.message(),
        Request { info: [0, 1, 1 << 4, 0], ..put.clone() }.message(),
        Request::get().message(),
        Request::exists().message(),
        Request::remove().message(),
        operate.message(),
        some.message(),
        batch(4, &rows),
        info("node\npeers-clear-std\nreplicas\nnamespace/test\n"),
        frame(2, &[0; 16]),
        frame(4, &[0; 32]),
    ]
}

/// Values for lengths and counts, which are modified more often than other bytes.
const EDGES: [u64; 10] = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff];

fn change(bytes: &mut Vec<u8>, valid: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len());
    let end = at + random.below((bytes.len() - at).min(64) + 1);
    match random.below(10) {
        _ if bytes.is_empty() => bytes.push(2),
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 | 3 => {
            let width = [1, 2, 4, 8][random.below(4)].min(bytes.len() - at);
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            bytes[at..at + width].copy_from_slice(&edge[8 - width..]);
        }
        4 => bytes[at] = bytes[at].wrapping_add(1),
        5 => bytes[at] = bytes[at].wrapping_sub(1),
        6 => drop(bytes.drain(at..end)),
        7 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        8 => bytes.truncate(at),
        _ => {
            let other = &valid[random.below(valid.len())];
            let from = random.below(other.len());
            let piece = other[from..(from + 32).min(other.len())].to_vec();
            bytes.splice(at..end, piece);
        }
    }
}

/// Corrects the frame length in nine of ten inputs, so that most are parsed further.
fn mend_length(bytes: &mut [u8], random: &mut Random) {
    if bytes.len() >= 8 && random.below(10) > 0 {
        let length = (bytes.len() as u64 - 8).to_be_bytes();
        bytes[2..8].copy_from_slice(&length[2..]);
    }
}

/// Returns the peak memory of this process, as measured by the kernel.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Aborts the tests if one input takes too long, and prints it.
fn watch(done: Arc<AtomicU64>, seed: u64) {
    std::thread::spawn(move || {
        let mut before = u64::MAX;
        loop {
            let now = done.load(Ordering::Relaxed);
            if now == before {
                eprintln!("input {now} of FUZZ_SEED={seed} hangs");
                std::process::abort();
            }
            before = now;
            std::thread::sleep(HANG);
            if done.load(Ordering::Relaxed) == u64::MAX - 1 {
                return;
            }
        }
    });
}

#[test]
fn no_input_ends_the_server_or_makes_it_large() {
    let (inputs, seed) = (setting("FUZZ_INPUTS", INPUTS), setting("FUZZ_SEED", 1));
    let settings =
        standin::Settings { memory: MEMORY, namespaces: vec!["test".into()], announce: None, idle: standin::IDLE };
    let server = standin::Server::new(&settings, 3000);
    let valid = valid();
    let done = Arc::new(AtomicU64::new(0));
    watch(done.clone(), seed);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut answered, mut closed) = (0u64, 0u64);
    for input in 0..inputs {
        done.store(input, Ordering::Relaxed);
        let mut bytes = valid[random.below(valid.len())].clone();
        // Occasionally replace the record that most inputs refer to.
        if random.below(4) == 0 {
            let digest = random.next() as u8;
            bytes.iter_mut().filter(|byte| **byte == 1).take(20).for_each(|byte| *byte = digest);
        }
        for _ in 0..random.below(6) {
            change(&mut bytes, &valid, &mut random);
        }
        mend_length(&mut bytes, &mut random);
        let mut out = Count(0);
        let end = standin::serve(&server, &mut &bytes[..], &mut out, ([127, 0, 0, 1], 3000).into());
        answered += u64::from(out.0 > 0);
        closed += u64::from(end.is_err());
        assert!(server.memory_used() <= MEMORY, "input {input} of FUZZ_SEED={seed} takes more than was granted");
    }
    done.store(u64::MAX - 1, Ordering::Relaxed);
    let peak = peak();
    println!("{inputs} inputs: {answered} answered, {closed} connections closed, {} MiB at the peak", peak >> 20);
    assert!(peak < RESIDENT, "{peak} bytes resident");
    // The inputs must be a mix of accepted and rejected messages.
    assert!(answered > inputs / 4 && closed > inputs / 4 && closed < inputs);
    let (out, end) = crate::send(&server, &info("node\n"));
    assert!(end.is_ok() && !out.is_empty(), "it still serves");
}

/// Sink that counts bytes.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
