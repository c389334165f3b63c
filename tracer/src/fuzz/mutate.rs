//! Inputs made of others.

use fastrand::Rng;

/// Numbers at which readers go wrong.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    7,
    8,
    16,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Most changes of one input.
const CHANGES: usize = 6;

/// One of these inputs, changed a few times. At most `longest` bytes.
pub(super) fn mutated(
    rng: &mut Rng,
    corpus: &[Vec<u8>],
    words: &[&str],
    longest: usize,
) -> Vec<u8> {
    let mut input = rng.choice(corpus).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..=CHANGES) {
        change(rng, &mut input, corpus, words);
    }
    input.truncate(longest);
    input
}

fn change(rng: &mut Rng, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    let at = rng.usize(0..=input.len());
    match rng.u8(0..11) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.u8(0..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.u8(..);
            }
        }
        2 | 3 => overwrite(input, at, &number(rng)),
        4 => insert(input, at, &number(rng)),
        5 => digits(rng, input, at),
        6 => drop(input.drain(range(rng, at, input.len()))),
        7 => {
            let copied = input[range(rng, at, input.len())].to_vec();
            let times = rng.usize(1..=4);
            let to = rng.usize(0..=input.len());
            insert(input, to, &copied.repeat(times));
        }
        8 => input.truncate(at),
        9 => {
            if let Some(word) = rng.choice(words) {
                if rng.bool() {
                    insert(input, at, word.as_bytes());
                } else {
                    overwrite(input, at, word.as_bytes());
                }
            }
        }
        _ => {
            if let Some(other) = rng.choice(corpus).filter(|other| !other.is_empty()) {
                let from = rng.usize(0..other.len());
                let part = &other[range(rng, from, other.len())];
                if rng.bool() {
                    insert(input, at, part);
                } else {
                    overwrite(input, at, part);
                }
            }
        }
    }
}

/// From there on, more often short than long.
fn range(rng: &mut Rng, from: usize, len: usize) -> std::ops::Range<usize> {
    let most = match rng.u8(0..3) {
        0 => 8,
        1 => 128,
        _ => len,
    };
    from..from + rng.usize(0..=most.min(len - from))
}

/// One of [`NUMBERS`] or near it, in 2, 4 or 8 bytes of either order.
fn number(rng: &mut Rng) -> Vec<u8> {
    let number = rng.choice(NUMBERS).unwrap_or_default();
    let number = number.wrapping_add_signed(rng.i64(-1..=1));
    let width = 1 << rng.u8(0..4);
    let mut bytes = number.to_le_bytes()[..width].to_vec();
    if rng.bool() {
        bytes.reverse();
    }
    bytes
}

/// Digits where there are some.
fn digits(rng: &mut Rng, input: &mut Vec<u8>, from: usize) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = input[from..].iter().position(is_digit) else {
        return;
    };
    let start = from + start;
    let len = input[start..]
        .iter()
        .take_while(|byte| is_digit(byte))
        .count();
    let number = rng.choice(NUMBERS).unwrap_or_default().to_string();
    input.splice(start..start + len, number.bytes());
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in input[at..].iter_mut().zip(bytes) {
        *to = *from;
    }
}

/// A smaller input with which this still holds, by leaving out ever smaller parts.
pub(super) fn shrunk(mut input: Vec<u8>, mut holds: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut shorter = input.clone();
            shorter.drain(at..(at + size).min(input.len()));
            if holds(&shorter) {
                input = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_of_limited_length() {
        let corpus = [b"{\"number\":17}".to_vec(), Vec::new(), vec![0; 100]];
        let inputs = |seed| {
            let mut rng = Rng::with_seed(seed);
            let mut one = || mutated(&mut rng, &corpus, &["word"], 120);
            (0..1000).map(|_| one()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(3).iter().all(|input| input.len() <= 120));
    }

    #[test]
    fn shrinks_to_what_matters() {
        let input = [&[0; 1000][..], b"ab", &[0; 77], b"c", &[0; 5]].concat();
        let holds = |input: &[u8]| [b'a', b'b', b'c'].iter().all(|byte| input.contains(byte));
        assert_eq!(shrunk(input, holds), b"abc");
    }
}
