//! Tests of the packed forms: round trips, and errors for truncated or malformed buffers.

use super::*;

#[test]
fn values_survive_packing() {
    let values = [
        ValueRef::Null,
        ValueRef::Integer(-7),
        ValueRef::Real(0.5),
        ValueRef::Text("ä\0b"),
        ValueRef::Blob(&[0, 255]),
        ValueRef::Now,
    ];
    let packed = pack_values(values);
    let mut read = Vec::new();
    Reader::new(&packed)
        .values(|_, value| {
            read.push(value);
            Ok::<(), CodecError>(())
        })
        .unwrap();
    assert_eq!(read, values);
}

#[test]
fn every_truncation_is_an_error_and_never_a_panic() {
    let mut batch = BatchWriter::default();
    batch.push("SELECT ?1", [ValueRef::Text("x")], Expect::Exactly(1));
    let packed = batch.finish();
    for len in 0..packed.len() {
        let mut reader = Reader::new(&packed[..len]);
        let read = (|| {
            reader.u32()?;
            reader.statement()?;
            reader.values(|_, _| Ok::<(), CodecError>(()))
        })();
        assert!(read.is_err(), "a batch cut at {len} of {} was read", packed.len());
    }
}

#[test]
fn tickets_are_taken_out_and_the_rest_stays() {
    let mut batch = BatchWriter::default();
    batch.push("A", [ValueRef::Integer(1)], Expect::Any);
    let without = batch.clone().finish();
    batch.push_ticket(42);
    assert_eq!(split_tickets(&batch.finish()).unwrap(), (without, vec![42]));
}

#[test]
fn an_unknown_tag_is_named() {
    let fault = Reader::new(&[1, 0, 0, 0, 9]).values(|_, _| Ok::<(), CodecError>(())).unwrap_err();
    assert_eq!(fault.problem, "a value has an unknown tag");
}

#[test]
fn rows_tell_their_columns_and_count() {
    let mut writer = RowsWriter::new(["id", "data"].into_iter());
    for number in 0..3 {
        writer.push(ValueRef::Integer(number));
        writer.push(ValueRef::Text("{}"));
        writer.end_row();
    }
    let packed = writer.finish();
    let head = RowsHead::read(&packed).unwrap();
    assert_eq!((head.columns, head.rows), (vec!["id".to_owned(), "data".to_owned()], 3));
}
