//! Converts packed values to parameters of the types that the server inferred, and the server's columns to packed
//! values. Only conversions that keep the meaning are done; all others are errors that name the parameter.

use sqlx::{
    Arguments, Column, Postgres, Row, Type, ValueRef as _,
    encode::{Encode, IsNull},
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo},
};
use tinybase_abi::codec::{Reader, RowsWriter, ValueRef};

use crate::{StatementError, numeric};

/// The supported types, by their wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `boolean`, packed as 0 or 1.
    Bool,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `numeric`, packed as an integer if it is one.
    Numeric,
    /// Every type that is written as its text.
    Text,
    /// `jsonb`, packed as its text.
    Jsonb,
    /// `uuid`, packed as its text in lower case.
    Uuid,
    /// `bytea`.
    Bytes,
    /// The result type of a function without a result.
    Void,
    /// A type without a packed form.
    Other,
}

impl Wire {
    /// Returns the wire format of a type.
    pub fn of(info: &PgTypeInfo) -> Wire {
        match info.oid().map_or(0, |oid| oid.0) {
            16 => Wire::Bool,
            17 => Wire::Bytes,
            20 => Wire::Int8,
            21 => Wire::Int2,
            23 => Wire::Int4,
            // "char", name, text, json, unknown, character, character varying.
            18 | 19 | 25 | 114 | 705 | 1042 | 1043 => Wire::Text,
            700 => Wire::Float4,
            701 => Wire::Float8,
            1700 => Wire::Numeric,
            2278 => Wire::Void,
            2950 => Wire::Uuid,
            3802 => Wire::Jsonb,
            _ => Wire::Other,
        }
    }
}

/// A parameter of a prepared statement.
#[derive(Debug, Clone)]
pub struct Param {
    info: PgTypeInfo,
    wire: Wire,
}

impl Param {
    /// Creates a parameter of this type, as the server inferred it.
    pub fn new(info: PgTypeInfo) -> Param {
        let wire = Wire::of(&info);
        Param { info, wire }
    }
}

/// Encodes packed parameters; `now` replaces [`ValueRef::Now`].
///
/// # Errors
/// [`StatementError::Sql`] if a parameter does not fit, or if there are too many or too few;
/// [`StatementError::InvalidValue`] if PostgreSQL cannot store a value.
pub fn encode(params: &mut Reader<'_>, wanted: &[Param], now: &str) -> Result<PgArguments, StatementError> {
    let mut arguments = PgArguments::default();
    arguments.reserve(wanted.len(), 16 * wanted.len());
    let count = |given: usize| {
        StatementError::Sql(format!("the statement has {} parameters, {given} were given", wanted.len()))
    };
    let given = params.values(|position, value| {
        let param = wanted.get(position).ok_or_else(|| count(position + 1))?;
        let value = if value == ValueRef::Now { ValueRef::Text(now) } else { value };
        check(value, param, position)?;
        arguments
            .add(Argument { value, param })
            .map_err(|error| StatementError::Sql(format!("parameter ?{}: {error}", position + 1)))
    })?;
    if given == wanted.len() { Ok(arguments) } else { Err(count(given)) }
}

fn check(value: ValueRef<'_>, param: &Param, position: usize) -> Result<(), StatementError> {
    let fits = match (value, param.wire) {
        (ValueRef::Null, _) => true,
        (ValueRef::Integer(number), Wire::Bool) => matches!(number, 0 | 1),
        (ValueRef::Integer(number), Wire::Int2) => i16::try_from(number).is_ok(),
        (ValueRef::Integer(number), Wire::Int4) => i32::try_from(number).is_ok(),
        (ValueRef::Integer(_), Wire::Int8 | Wire::Float8 | Wire::Numeric) => true,
        (ValueRef::Real(_), Wire::Float4 | Wire::Float8 | Wire::Numeric) => true,
        (ValueRef::Text(text), Wire::Text | Wire::Jsonb) => {
            if text.contains('\0') {
                let what = "PostgreSQL stores no text that holds the character NUL".to_owned();
                return Err(StatementError::InvalidValue(what));
            }
            true
        }
        (ValueRef::Text(text), Wire::Uuid) => uuid::Uuid::try_parse(text).is_ok(),
        (ValueRef::Blob(_), Wire::Bytes) => true,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let kind = match value {
        ValueRef::Integer(_) => "an integer",
        ValueRef::Real(_) => "a float",
        ValueRef::Text(_) => "a text",
        ValueRef::Blob(_) => "bytes",
        ValueRef::Null | ValueRef::Now => "a value",
    };
    Err(StatementError::Sql(format!(
        "parameter ?{} is {kind}, and the statement wants {} there; write a cast, such as ?{}::bigint",
        position + 1,
        param.info,
        position + 1
    )))
}

/// A value to encode, already checked against its parameter.
struct Argument<'a> {
    value: ValueRef<'a>,
    param: &'a Param,
}

impl Type<Postgres> for Argument<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("text")
    }
}

impl<'q> Encode<'q, Postgres> for Argument<'_> {
    fn encode_by_ref(&self, out: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match (self.value, self.param.wire) {
            (ValueRef::Null | ValueRef::Now, _) => return Ok(IsNull::Yes),
            (ValueRef::Integer(number), Wire::Bool) => out.push(u8::from(number != 0)),
            (ValueRef::Integer(number), Wire::Int2) => {
                out.extend_from_slice(&i16::try_from(number)?.to_be_bytes());
            }
            (ValueRef::Integer(number), Wire::Int4) => {
                out.extend_from_slice(&i32::try_from(number)?.to_be_bytes());
            }
            (ValueRef::Integer(number), Wire::Float8) => {
                #[expect(clippy::cast_precision_loss, reason = "as SQLite converts an integer to a float")]
                out.extend_from_slice(&(number as f64).to_be_bytes());
            }
            (ValueRef::Integer(number), Wire::Numeric) => numeric::put_integer(out, number),
            (ValueRef::Integer(number), _) => out.extend_from_slice(&number.to_be_bytes()),
            (ValueRef::Real(number), Wire::Float4) => {
                #[expect(clippy::cast_possible_truncation, reason = "the column holds no more")]
                out.extend_from_slice(&(number as f32).to_be_bytes());
            }
            (ValueRef::Real(number), Wire::Numeric) => numeric::put_real(out, number),
            (ValueRef::Real(number), _) => out.extend_from_slice(&number.to_be_bytes()),
            (ValueRef::Text(text), Wire::Uuid) => {
                out.extend_from_slice(uuid::Uuid::try_parse(text)?.as_bytes());
            }
            (ValueRef::Text(text), Wire::Jsonb) => {
                // The version of the format.
                out.push(1);
                out.extend_from_slice(text.as_bytes());
            }
            (ValueRef::Text(text), _) => out.extend_from_slice(text.as_bytes()),
            (ValueRef::Blob(bytes), _) => out.extend_from_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.param.info.clone())
    }
}

/// Returns the SQL type of an array of a parameter's values; `None` if they cannot be passed as an array.
pub fn array_type(param: &Param) -> Option<&'static str> {
    match (param.info.oid()?.0, param.wire) {
        (25, Wire::Text) => Some("text[]"),
        (20, Wire::Int8) => Some("bigint[]"),
        _ => None,
    }
}

/// The values of one parameter in many runs of a statement.
enum Array<'a> {
    Texts(Vec<Option<&'a str>>),
    Integers(Vec<Option<i64>>),
}

impl<'a> Array<'a> {
    fn push(&mut self, value: ValueRef<'a>) {
        match (self, value) {
            (Array::Texts(texts), ValueRef::Text(text)) => texts.push(Some(text)),
            (Array::Integers(numbers), ValueRef::Integer(number)) => numbers.push(Some(number)),
            // Null: all other values were checked against the type before.
            (Array::Texts(texts), _) => texts.push(None),
            (Array::Integers(numbers), _) => numbers.push(None),
        }
    }
}

/// Encodes the packed parameters of many runs, one array per parameter. Also returns which run each position in the
/// arrays belongs to. Runs whose parameters do not fit are left out.
///
/// # Errors
/// [`StatementError::Sql`] if an array cannot be encoded.
pub fn encode_arrays<'a>(
    runs: impl Iterator<Item = &'a [u8]>,
    wanted: &[Param],
    now: &'a str,
) -> Result<(PgArguments, Vec<usize>), StatementError> {
    let mut places = Vec::new();
    let array = |param: &Param| match param.wire {
        Wire::Int8 => Array::Integers(Vec::new()),
        _ => Array::Texts(Vec::new()),
    };
    let mut arrays: Vec<_> = wanted.iter().map(array).collect();
    let mut values = Vec::with_capacity(wanted.len());
    for (run, packed) in runs.enumerate() {
        values.clear();
        let given = Reader::new(packed).values(|position, value| {
            let param =
                wanted.get(position).ok_or_else(|| StatementError::Sql("too many parameters".to_owned()))?;
            let value = if value == ValueRef::Now { ValueRef::Text(now) } else { value };
            check(value, param, position)?;
            values.push(value);
            Ok::<_, StatementError>(())
        });
        if given.is_ok_and(|given| given == wanted.len()) {
            places.push(run);
            arrays.iter_mut().zip(&values).for_each(|(array, value)| array.push(*value));
        }
    }
    let mut arguments = PgArguments::default();
    for array in arrays {
        let added = match array {
            Array::Texts(texts) => arguments.add(texts),
            Array::Integers(numbers) => arguments.add(numbers),
        };
        added.map_err(|error| StatementError::Sql(error.to_string()))?;
    }
    Ok((arguments, places))
}

/// Returns the position in the arrays, from 0, stored in the first column of a row.
pub fn place(row: &PgRow) -> Option<usize> {
    let place: i64 = row.try_get(0).ok()?;
    usize::try_from(place - 1).ok()
}

/// Returns whether a row's columns, except the first ones, have these types. A connection that prepares a statement
/// after a change of the schema may return other types than one that prepared it before.
pub fn is_of(row: &PgRow, first: usize, columns: &[Wire]) -> bool {
    row.columns().iter().skip(first).map(|column| Wire::of(column.type_info())).eq(columns.iter().copied())
}

/// Appends a row of the server. `columns` are its types.
///
/// # Errors
/// [`StatementError::Sql`] for a column of a type that has no packed form.
pub fn pack_row(row: &PgRow, columns: &[Wire], out: &mut RowsWriter) -> Result<(), StatementError> {
    pack_row_from(row, 0, columns, out)
}

/// Appends a row of the server without its first columns. `columns` are the types of the others.
///
/// # Errors
/// As [`pack_row`].
pub fn pack_row_from(
    row: &PgRow,
    first: usize,
    columns: &[Wire],
    out: &mut RowsWriter,
) -> Result<(), StatementError> {
    for (position, wire) in (first..).zip(columns) {
        let raw = row.try_get_raw(position).map_err(|error| StatementError::Sql(error.to_string()))?;
        if raw.is_null() {
            out.push(ValueRef::Null);
            continue;
        }
        let bytes = raw.as_bytes().map_err(|error| StatementError::Sql(error.to_string()))?;
        push_value(bytes, *wire, out).ok_or_else(|| {
            let name = raw.type_info();
            StatementError::Sql(format!(
                "column {} is of type {name}, which has no packed form: cast it",
                position + 1
            ))
        })?;
    }
    out.end_row();
    Ok(())
}

fn push_value(bytes: &[u8], wire: Wire, out: &mut RowsWriter) -> Option<()> {
    let value = match wire {
        Wire::Bool => ValueRef::Integer(i64::from(*bytes.first()? != 0)),
        Wire::Int2 => ValueRef::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Wire::Int4 => ValueRef::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Wire::Int8 => ValueRef::Integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        Wire::Float4 => ValueRef::Real(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        Wire::Float8 => ValueRef::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
        Wire::Numeric => numeric::read(bytes)?,
        Wire::Text => ValueRef::Text(std::str::from_utf8(bytes).ok()?),
        Wire::Jsonb => ValueRef::Text(std::str::from_utf8(bytes.get(1..)?).ok()?),
        Wire::Bytes => ValueRef::Blob(bytes),
        Wire::Void => ValueRef::Null,
        Wire::Uuid => {
            let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
            let text = uuid::Uuid::from_slice(bytes).ok()?.hyphenated().encode_lower(&mut text);
            out.push(ValueRef::Text(text));
            return Some(());
        }
        Wire::Other => return None,
    };
    out.push(value);
    Some(())
}
