//! The packed forms of a request to another server and of its response. Readers skip data after the fields they know,
//! so both forms may grow at their end. It sends nothing.
//!
//! ```text
//! headers  := u32 count, (u32 utf8 name, u32 bytes value)*
//! request  := u32 utf8 method, u32 utf8 url, headers, u32 bytes body, u64 timeout_ms, u64 response_bytes_max
//! response := u32 status, headers, u32 bytes body
//! ```

use super::{CodecError, Reader, put_bytes};

/// Names and values of headers, in order.
pub type Headers<'a> = Vec<(&'a str, &'a [u8])>;

/// A request to another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The absolute URL.
    pub url: &'a str,
    /// The headers.
    pub headers: Headers<'a>,
    /// The body; empty sends none.
    pub body: &'a [u8],
    /// The timeout of the whole request in milliseconds; 0 for the host's limit.
    pub timeout_ms: u64,
    /// The size limit of the response body in bytes; 0 for the host's limit.
    pub response_bytes_max: u64,
}

/// The response of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Headers<'a>,
    /// The body.
    pub body: &'a [u8],
}

fn put_headers(out: &mut Vec<u8>, headers: &[(&str, &[u8])]) {
    let count = u32::try_from(headers.len()).expect("limits keep headers far below 2^32");
    out.extend_from_slice(&count.to_le_bytes());
    for (name, value) in headers {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value);
    }
}

fn headers<'a>(reader: &mut Reader<'a>) -> Result<Headers<'a>, CodecError> {
    let count = reader.u32()?;
    (0..count).map(|_| Ok((reader.text()?, reader.bytes()?))).collect()
}

impl<'a> Request<'a> {
    /// Returns the packed form.
    pub fn pack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.url.len() + self.body.len());
        put_bytes(&mut out, self.method.as_bytes());
        put_bytes(&mut out, self.url.as_bytes());
        put_headers(&mut out, &self.headers);
        put_bytes(&mut out, self.body);
        out.extend_from_slice(&self.timeout_ms.to_le_bytes());
        out.extend_from_slice(&self.response_bytes_max.to_le_bytes());
        out
    }

    /// Reads the packed form.
    pub fn read(packed: &'a [u8]) -> Result<Request<'a>, CodecError> {
        let mut reader = Reader::new(packed);
        Ok(Request {
            method: reader.text()?,
            url: reader.text()?,
            headers: headers(&mut reader)?,
            body: reader.bytes()?,
            timeout_ms: reader.u64()?,
            response_bytes_max: reader.u64()?,
        })
    }
}

impl<'a> Response<'a> {
    /// Returns the packed form.
    pub fn pack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.body.len());
        out.extend_from_slice(&u32::from(self.status).to_le_bytes());
        put_headers(&mut out, &self.headers);
        put_bytes(&mut out, self.body);
        out
    }

    /// Reads the packed form.
    pub fn read(packed: &'a [u8]) -> Result<Response<'a>, CodecError> {
        let mut reader = Reader::new(packed);
        let status = reader.u32()?;
        let Ok(status) = u16::try_from(status) else { return reader.fault("a status has 16 bits") };
        Ok(Response { status, headers: headers(&mut reader)?, body: reader.bytes()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_read_also_where_it_has_grown_and_never_where_it_is_cut() {
        let request = Request {
            method: "POST",
            url: "https://example.org/in",
            headers: vec![("x-a", b"1"), ("x-b", b"\xff")],
            body: b"{}",
            timeout_ms: 5,
            response_bytes_max: 1 << 40,
        };
        let mut packed = request.pack();
        for end in 0..packed.len() {
            assert!(Request::read(&packed[..end]).is_err(), "cut at {end}");
        }
        packed.extend_from_slice(b"a later field");
        assert_eq!(Request::read(&packed), Ok(request));

        let response = Response { status: 204, headers: vec![("x-a", b"1")], body: b"" };
        let mut packed = response.pack();
        for end in 0..packed.len() {
            assert!(Response::read(&packed[..end]).is_err(), "cut at {end}");
        }
        packed.extend_from_slice(b"a later field");
        assert_eq!(Response::read(&packed), Ok(response));
    }

    #[test]
    fn a_count_that_is_not_there_takes_no_memory() {
        let mut packed = Vec::new();
        put_bytes(&mut packed, b"GET");
        put_bytes(&mut packed, b"http://a/");
        packed.extend_from_slice(&u32::MAX.to_le_bytes());
        assert!(Request::read(&packed).is_err());
    }
}
