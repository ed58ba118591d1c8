//! As much HTTP as measuring takes: requests on a kept connection, and a stream of events.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// A connection on which one request follows the other.
pub(super) struct Connection {
    address: String,
    stream: BufReader<TcpStream>,
}

/// An answer, as far as it is looked at.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Connection {
    pub(super) fn open(address: &str) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("{address}: {error}.");
        let stream = TcpStream::connect(address).map_err(fault)?;
        stream.set_nodelay(true).map_err(fault)?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(fault)?;
        Ok(Self { address: address.to_owned(), stream: BufReader::new(stream) })
    }

    /// Sends a request with this body, and waits for the answer.
    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<Answer, String> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        self.write(request.as_bytes())?;
        let (status, length) = self.head()?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(|error| self.fault(&error))?;
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// The same, with an answer that has to be a 2xx.
    pub(super) fn done(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<String, String> {
        let answer = self.send(method, path, headers, body)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        Err(format!("{method} {path} was answered {}: {}", answer.status, answer.body))
    }

    /// Asks for a stream of events; its lines are read by [`line`](Self::line).
    pub(super) fn events(address: &str, path: &str, headers: &str) -> Result<Self, String> {
        let mut connection = Self::open(address)?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{headers}\r\n");
        connection.write(request.as_bytes())?;
        match connection.head()? {
            (200, _) => Ok(connection),
            (status, _) => Err(format!("GET {path} was answered {status}.")),
        }
    }

    /// The next line, without its end. Lines of chunked coding are among them.
    pub(super) fn line(&mut self, line: &mut String) -> Result<(), String> {
        line.clear();
        match self.stream.read_line(line) {
            Ok(0) => Err(format!("{}: the gateway closed the connection.", self.address)),
            Ok(_) => {
                line.truncate(line.trim_end().len());
                Ok(())
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Status and length of the body.
    fn head(&mut self) -> Result<(u16, usize), String> {
        let mut line = String::new();
        self.line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("{}: not HTTP: {line}", self.address))?;
        let mut length = 0;
        loop {
            self.line(&mut line)?;
            if line.is_empty() {
                return Ok((status, length));
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = self.stream.get_mut().write_all(bytes);
        written.map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &std::io::Error) -> String {
        format!("{}: {error}.", self.address)
    }
}
