use super::*;

const SYMBOLS: &str = "\
ffffffff81000000 T _text
ffffffff81000f00 t nf_hook_slow_list
ffffffff81000a00 T nf_hook_slow
ffffffff81000b40 T nf_hook_next
";

/// Everything four bytes apart, in the order of the structure.
fn dense() -> KernelLayout {
    KernelLayout {
        err_soft: 400,
        wmem_queued: 404,
        sndbuf: 408,
        rto: 412,
        retransmits: 416,
        probes_out: 417,
        snd_wnd: 420,
        mss_cache: 424,
        write_seq: 428,
        snd_nxt: 432,
        snd_una: 436,
        srtt_us: 440,
        rcv_tstamp: 444,
        ..KernelLayout::ABSENT
    }
}

#[test]
fn the_range_is_from_the_first_to_the_end_of_the_last() {
    assert_eq!(tcp_range(&dense()), Some((400, 48)));
    let layout = KernelLayout {
        srtt_us: ABSENT,
        ..dense()
    };
    assert_eq!(tcp_range(&layout), Some((400, 48)));
}

#[test]
fn user_registers_are_at_the_end_of_a_stack_of_at_least_a_page() {
    for (page, at) in [(4, 0x3f58), (16, 0x3f58), (64, 0xff58)] {
        assert_eq!(at_end_of_stack(168, page << 10), Some(at));
    }
}

#[test]
fn fields_that_are_too_far_apart_or_missing_have_no_range() {
    let far = KernelLayout {
        rcv_tstamp: 400 + ENTRY_BYTES as u32 - 3,
        ..dense()
    };
    assert_eq!(tcp_range(&far), None);
    let last = KernelLayout {
        rcv_tstamp: 400 + ENTRY_BYTES as u32 - 4,
        ..dense()
    };
    assert_eq!(tcp_range(&last), Some((400, ENTRY_BYTES as u32)));
    let unknown = KernelLayout {
        snd_una: ABSENT,
        ..dense()
    };
    assert_eq!(tcp_range(&unknown), None);
}

#[test]
fn a_function_reaches_to_the_next() {
    let found = addresses(|| Ok(SYMBOLS.as_bytes()), "nf_hook_slow");
    assert_eq!(found, Some(0xffff_ffff_8100_0a00..0xffff_ffff_8100_0b40));
    assert_eq!(addresses(|| Ok(SYMBOLS.as_bytes()), "nf_hook"), None);
}

#[test]
fn addresses_that_are_hidden_are_none() {
    let hidden = "0000000000000000 T nf_hook_slow\n0000000000000000 T other\n";
    assert_eq!(addresses(|| Ok(hidden.as_bytes()), "nf_hook_slow"), None);
}
