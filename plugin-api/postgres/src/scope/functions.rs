//! The server's functions that an extension may call, and the types it may cast to: those that compute only with their
//! arguments. All others are rejected: the server has functions that read files, run text as SQL, or give a session
//! other rights, and future versions will have more.

use sqlparser::ast::{ArrayElemTypeDef, DataType, ObjectName};

use super::names::simple;

/// The allowed functions, sorted by name.
#[rustfmt::skip]
const ALLOWED: &[&str] = &[
    "abs", "acos", "age", "any", "any_value", "array", "array_agg", "array_append", "array_cat", "array_dims",
    "array_fill", "array_length", "array_lower", "array_ndims", "array_position", "array_positions", "array_prepend",
    "array_remove", "array_replace", "array_to_json", "array_to_string", "array_to_tsvector", "array_upper", "ascii",
    "asin", "atan", "atan2", "avg", "bit_and", "bit_count", "bit_length", "bit_or", "bit_xor", "bool_and", "bool_or",
    "btrim", "cardinality", "cast", "cbrt", "ceil", "ceiling", "char_length", "character_length", "chr",
    "clock_timestamp", "coalesce", "concat", "concat_ws", "convert_from", "convert_to", "corr", "cos", "cosh", "cot",
    "count", "covar_pop", "covar_samp", "cume_dist", "current_date", "current_time", "current_timestamp", "date_bin",
    "date_part", "date_trunc", "decode", "degrees", "dense_rank", "div", "encode", "every", "exp", "extract", "factorial",
    "first_value", "floor", "format", "gcd", "gen_random_uuid", "generate_series", "generate_subscripts", "get_bit",
    "get_byte", "get_current_ts_config", "greatest", "grouping", "initcap", "isempty", "isfinite", "json_agg",
    "json_array", "json_array_elements", "json_array_elements_text", "json_array_length", "json_arrayagg",
    "json_build_array", "json_build_object", "json_each", "json_each_text", "json_exists", "json_extract_path",
    "json_extract_path_text", "json_object", "json_object_agg", "json_object_keys", "json_objectagg", "json_query",
    "json_scalar", "json_strip_nulls", "json_to_tsvector", "json_typeof", "json_value", "jsonb_agg",
    "jsonb_array_elements", "jsonb_array_elements_text", "jsonb_array_length", "jsonb_build_array",
    "jsonb_build_object", "jsonb_each", "jsonb_each_text", "jsonb_extract_path", "jsonb_extract_path_text",
    "jsonb_insert", "jsonb_object", "jsonb_object_agg", "jsonb_object_keys", "jsonb_path_exists", "jsonb_path_match",
    "jsonb_path_query", "jsonb_path_query_array", "jsonb_path_query_first", "jsonb_pretty", "jsonb_set",
    "jsonb_set_lax", "jsonb_strip_nulls", "jsonb_to_tsvector", "jsonb_typeof", "justify_days", "justify_hours",
    "justify_interval", "lag", "last_value", "lcm", "lead", "least", "left", "length", "ln", "localtime",
    "localtimestamp", "log", "log10", "lower", "lower_inc", "lower_inf", "lpad", "ltrim", "make_date", "make_interval",
    "make_time", "make_timestamp", "make_timestamptz", "max", "md5", "min", "mod", "mode", "normalize", "now", "nth_value",
    "ntile", "nullif", "numnode", "octet_length", "overlay", "parse_ident", "percent_rank", "percentile_cont",
    "percentile_disc", "phraseto_tsquery", "pi", "plainto_tsquery", "position", "power", "querytree", "quote_ident",
    "quote_literal", "quote_nullable", "radians", "random", "range_agg", "range_merge", "rank", "regexp_count",
    "regexp_instr", "regexp_like", "regexp_match", "regexp_matches", "regexp_replace", "regexp_split_to_array",
    "regexp_split_to_table", "regexp_substr", "repeat", "replace", "reverse", "right", "round", "row", "row_number",
    "row_to_json", "rpad", "rtrim", "scale", "set_bit", "set_byte", "setseed", "setweight", "sha224", "sha256", "sha384",
    "sha512", "sign", "sin", "sinh", "some", "split_part", "sqrt", "starts_with", "statement_timestamp", "stddev",
    "stddev_pop", "stddev_samp", "string_agg", "string_to_array", "string_to_table", "strip", "strpos", "substr",
    "substring", "sum", "tan", "tanh", "timezone", "to_ascii", "to_char", "to_date", "to_hex", "to_json", "to_jsonb",
    "to_number", "to_timestamp", "to_tsquery", "to_tsvector", "transaction_timestamp", "translate", "trim", "trim_array",
    "trim_scale", "trunc", "ts_debug", "ts_delete", "ts_filter", "ts_headline", "ts_lexize", "ts_rank", "ts_rank_cd",
    "tsquery_phrase", "tsvector_to_array", "unistr", "unnest", "upper", "upper_inc", "upper_inf", "var_pop", "var_samp",
    "variance", "websearch_to_tsquery", "width_bucket",
];

/// Functions that return metadata of tables, indexes and triggers, but none of their content.
#[rustfmt::skip]
const OF_CATALOGS: &[&str] = &[
    "pg_backend_pid", "pg_get_constraintdef", "pg_get_expr", "pg_get_functiondef", "pg_get_indexdef", "pg_get_triggerdef",
    "pg_indexes_size", "pg_relation_size", "pg_table_is_visible", "pg_table_size", "pg_total_relation_size", "pg_typeof",
];

/// Prefixes of the server's functions. A function with such a name is never treated as an extension's own, whatever
/// the extension is called.
#[rustfmt::skip]
const OF_THE_SERVER: &[&str] = &[
    "pg_", "tb_", "lo_", "dblink", "query_to_", "table_to_", "cursor_to_", "schema_to_", "database_to_", "set_config",
    "current_setting", "ts_stat", "ts_rewrite", "ts_parse", "ts_token_type", "txid_", "inet_", "has_", "row_security_active",
    "binary_upgrade_", "brin_", "gin_", "xpath_", "xml_", "to_reg", "acl", "make_acl", "col_description", "obj_description",
    "current_schema", "current_user", "current_role", "current_catalog", "session_user",
];

pub(super) fn is_allowed(name: &str) -> bool {
    ALLOWED.binary_search(&name).is_ok() || OF_CATALOGS.contains(&name)
}

/// Returns whether a name always belongs to the server.
pub(super) fn is_of_the_server(name: &str) -> bool {
    ALLOWED.binary_search(&name).is_ok() || OF_THE_SERVER.iter().any(|start| name.starts_with(start))
}

/// Allowed types in addition to those that the parser recognizes itself.
#[rustfmt::skip]
const TYPES: &[&str] = &[
    "bigserial", "bool", "bpchar", "char", "cidr", "daterange", "float4", "float8", "inet", "int2", "int4", "int4range",
    "int8", "int8range", "jsonpath", "macaddr", "money", "name", "numrange", "regconfig", "serial", "timestamptz", "timetz",
    "tsquery", "tsrange", "tstzrange", "tsvector", "uuid", "varbit", "varchar", "xid8",
];

/// Returns whether a value may be cast to this type.
pub(super) fn is_plain_type(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Array(ArrayElemTypeDef::SquareBracket(of, _) | ArrayElemTypeDef::AngleBracket(of)) => {
            is_plain_type(of)
        }
        T::Custom(name, modifiers) => modifiers.is_empty() && is_plain_name(name),
        T::Character(_)
        | T::Char(_)
        | T::CharacterVarying(_)
        | T::CharVarying(_)
        | T::Varchar(_)
        | T::Uuid
        | T::Numeric(_)
        | T::Decimal(_)
        | T::Dec(_)
        | T::Float(_)
        | T::Int2(_)
        | T::SmallInt(_)
        | T::Int(_)
        | T::Int4(_)
        | T::Int8(_)
        | T::Integer(_)
        | T::BigInt(_)
        | T::Float4
        | T::Float8
        | T::Real
        | T::DoublePrecision
        | T::Bool
        | T::Boolean
        | T::Date
        | T::Time(..)
        | T::Timestamp(..)
        | T::Interval { .. }
        | T::JSON
        | T::JSONB
        | T::Text
        | T::Bytea
        | T::Bit(_)
        | T::BitVarying(_)
        | T::VarBit(_)
        | T::TsVector
        | T::TsQuery => true,
        _ => false,
    }
}

fn is_plain_name(name: &ObjectName) -> bool {
    simple(name).is_some_and(|name| TYPES.binary_search(&name.as_str()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_order() {
        assert!(ALLOWED.is_sorted() && TYPES.is_sorted());
    }

    #[test]
    fn nothing_that_reaches_out_is_allowed() {
        for start in OF_THE_SERVER {
            let found = ALLOWED.iter().find(|name| name.starts_with(start));
            assert_eq!(found, None, "{start}");
        }
    }
}
