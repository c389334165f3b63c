use super::*;

fn protocol(signs: &[Sign]) -> Protocol {
    let begin = Protocol::default();
    signs.iter().fold(begin, |known, sign| known.after(*sign))
}

#[test]
fn each_sign_leads_where_the_table_says() {
    use Sign::*;
    for (signs, is_multiplexed) in [
        (&[][..], false),
        (&[Streams], true),
        // HTTP/1.1: a goroutine for each background read.
        (&[ChildReads(1)], false),
        (&[ChildReads(1), ChildReads(2), ChildReads(3)], false),
        // A child that wrote, and none that read.
        (&[ChildWrites], false),
        (&[ChildWrites, ChildWrites], false),
        // HTTP/2: one goroutine reads all frames; others write them.
        (&[ChildReads(1), ChildReads(1)], true),
        (&[ChildReads(1), ChildWrites], true),
        (&[ChildWrites, ChildReads(1)], true),
        (&[ChildReads(1), ChildReads(2), ChildReads(2)], true),
    ] {
        let known = protocol(signs).is_multiplexed();
        assert_eq!(known, is_multiplexed, "{signs:?}");
    }
}

#[test]
fn what_is_multiplexed_stays_so() {
    let multiplexed = protocol(&[Sign::Streams]);
    for sign in [Sign::Streams, Sign::ChildWrites, Sign::ChildReads(1)] {
        assert!(multiplexed.after(sign).is_multiplexed());
    }
}

#[test]
fn control_frames_are_no_answers() {
    let mut connection = ClientConnection::default();
    for (at, bytes) in [(1, 39), (2, 61), (3, 3616)] {
        connection.add_frame(at, bytes);
    }
    let first = |at| connection.first_frame_after(at);
    assert_eq!((first(0), first(2), first(3)), (Some(2), Some(3), None));
}
