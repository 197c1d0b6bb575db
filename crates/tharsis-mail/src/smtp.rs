use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        Error,
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
    },
};
use tharsis_core::{
    Invalid,
    alert::{Mail, MailAddress, Untold},
};
use zeroize::Zeroizing;

/// How long each step of the conversation may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the connection is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// TLS from the first byte on.
    #[default]
    Required,
    /// TLS after `STARTTLS`, or nothing is sent.
    StartTls,
    /// None; only to this very machine.
    None,
}

impl Security {
    /// Reads the word for it: `required`, `starttls` or `none`.
    ///
    /// # Errors
    /// `bad_tls` for any other.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "required" => Ok(Self::Required),
            "starttls" => Ok(Self::StartTls),
            "none" => Ok(Self::None),
            _ => Err(Invalid::new("bad_tls", "is no way to a mail server")
                .hint("choose one of: required, starttls, none")),
        }
    }

    /// The port of mail that is submitted so.
    const fn port(self) -> u16 {
        match self {
            Self::Required => 465,
            Self::StartTls => 587,
            Self::None => 25,
        }
    }
}

/// The mail server, and as whom we come to it.
#[derive(Clone)]
pub struct SmtpOptions {
    /// Its name, or its address.
    pub host: String,
    /// 465, 587 or 25, as `security` has it, unless given.
    pub port: Option<u16>,
    /// How the connection is kept from others.
    pub security: Security,
    /// User and password.
    pub login: Option<(String, Zeroizing<String>)>,
    /// Whom messages are from.
    pub from: MailAddress,
    /// Certificates in PEM, trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// Without the password.
impl fmt::Debug for SmtpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .field("from", &self.from)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// A way to the mail server. Each message takes a connection of its own: there are few.
#[derive(Clone)]
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Address,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl Smtp {
    /// Nothing is connected to yet.
    ///
    /// # Errors
    /// When there would be no TLS to another machine, or a certificate cannot be used. The field is the option's.
    pub fn new(options: &SmtpOptions) -> Result<Self, Invalid> {
        let host = options.host.as_str();
        if options.security == Security::None && !is_loopback(host) {
            return Err(Invalid::new(
                "mail_in_the_clear",
                "would send mail and password in the clear to another machine",
            )
            .at("tls")
            .hint("choose required or starttls; none is for localhost"));
        }
        let tls = match options.security {
            Security::None => Tls::None,
            Security::StartTls => Tls::Required(parameters(options)?),
            Security::Required => Tls::Wrapper(parameters(options)?),
        };
        let from = address(&options.from).map_err(|error| error.at("from"))?;
        let port = options.port.unwrap_or(options.security.port());
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .tls(tls)
            .timeout(Some(PATIENCE))
            .hello_name(ClientId::Domain(from.domain().to_owned()));
        if let Some((user, password)) = &options.login {
            let credentials = Credentials::new(user.clone(), password.as_str().to_owned());
            transport = transport.credentials(credentials);
        }
        Ok(Self {
            transport: transport.build(),
            from,
        })
    }

    /// Sends a message. What the server said is returned once it has taken it.
    ///
    /// # Errors
    /// What it said otherwise, or what is in the way of asking it.
    pub async fn send(&self, mail: &Mail) -> Result<String, Untold> {
        let message = self.message(mail)?;
        match self.transport.send(message).await {
            Ok(response) => {
                let said: Vec<&str> = response.message().collect();
                Ok(format!("{} {}", response.code(), said.join(" ")))
            }
            Err(error) => Err(Untold {
                for_good: is_unknown_person(&error),
                message: told(&error),
            }),
        }
    }

    fn message(&self, mail: &Mail) -> Result<Message, Untold> {
        let cannot = |message: String| Untold {
            message,
            for_good: false,
        };
        let to = address(&mail.to).map_err(|error| cannot(error.to_string()))?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| cannot(error.to_string()))?;
        Message::builder()
            .from(Mailbox::new(Some("Tharsis".to_owned()), self.from.clone()))
            .to(Mailbox::new(None, to))
            .subject(mail.subject.clone())
            .message_id(Some(format!(
                "<{}@{}>",
                hex::encode(id),
                self.from.domain()
            )))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|error| cannot(error.to_string()))
    }
}

/// So that nobody's absence is answered with (RFC 3834).
#[derive(Debug, Clone, Copy)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

fn parameters(options: &SmtpOptions) -> Result<TlsParameters, Invalid> {
    let invalid = |message: String| {
        Invalid::new("ca_file_invalid", message)
            .at("ca_file")
            .hint("it must hold certificates in PEM: -----BEGIN CERTIFICATE-----")
    };
    let mut tls = TlsParameters::builder(options.host.clone());
    if let Some(file) = &options.ca_file {
        let pem = std::fs::read(file)
            .map_err(|error| invalid(format!("{} cannot be read: {error}", file.display())))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| invalid(format!("{} is damaged: {error}", file.display())))?;
        tls = tls.add_root_certificate(certificate);
    }
    tls.build().map_err(|error| {
        Invalid::new("no_trusted_roots", format!("cannot be verified: {error}"))
            .at("host")
            .hint(
                "install the system's CA certificates (package ca-certificates), or give a ca_file",
            )
    })
}

fn address(address: &MailAddress) -> Result<Address, Invalid> {
    address
        .as_str()
        .parse()
        .map_err(|_| Invalid::new("bad_address", "is no mail address"))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// There is no such mailbox, here or anywhere (RFC 5321, 4.2.3).
fn is_unknown_person(error: &Error) -> bool {
    let status = error.status().map(u16::from);
    matches!(status, Some(550 | 551 | 553))
}

/// With all that is behind it, in one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(host: &str, security: Security) -> SmtpOptions {
        SmtpOptions {
            host: host.to_owned(),
            port: None,
            security,
            login: None,
            from: "tharsis@shop.example".parse().expect("an address"),
            ca_file: None,
        }
    }

    #[test]
    fn nothing_goes_in_the_clear_to_another_machine() {
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert!(Smtp::new(&options(host, Security::None)).is_ok(), "{host}");
        }
        for host in ["mail.shop.example", "10.0.0.1", "localhost.shop.example"] {
            let refused = Smtp::new(&options(host, Security::None)).unwrap_err();
            assert_eq!(refused.code, "mail_in_the_clear", "{host}");
        }
    }

    #[test]
    fn a_message_is_plain_text_that_nobody_answers_by_itself() {
        let smtp = Smtp::new(&options("localhost", Security::None)).expect("good");
        let mail = Mail {
            to: "ops@shop.example".parse().expect("an address"),
            subject: "[Tharsis] Café is failing".to_owned(),
            text: "Café\n".to_owned(),
        };
        let message = smtp.message(&mail).expect("a message").formatted();
        let message = String::from_utf8(message).expect("ASCII");
        for line in [
            "From: Tharsis <tharsis@shop.example>\r\n",
            "To: ops@shop.example\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Content-Type: text/plain; charset=utf-8\r\n",
        ] {
            assert!(message.contains(line), "{line} in {message}");
        }
    }
}
