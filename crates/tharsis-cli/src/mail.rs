//! Who tells people: the mail server of the configuration.

use std::sync::Arc;

use tharsis::dispatch::{Alerts, Mailer};
use tharsis_mail::{Smtp, SmtpOptions};

use crate::{
    commands::secret::line_of,
    configuration::{Configuration, SmtpSettings},
    output::Failure,
};

/// The mail server, where one is named.
pub(crate) fn smtp(configuration: &Configuration) -> Result<Option<Smtp>, Failure> {
    let Some(settings) = &configuration.smtp else {
        return Ok(None);
    };
    let SmtpSettings {
        host,
        port,
        security,
        user,
        password_file,
        from,
        ca_file,
    } = settings;
    let login = match (user, password_file) {
        (Some(user), Some(file)) => Some((user.clone(), line_of(file)?)),
        _ => None,
    };
    let options = SmtpOptions {
        host: host.clone(),
        port: *port,
        security: *security,
        login,
        from: from.clone(),
        ca_file: ca_file.clone(),
    };
    let smtp = Smtp::new(&options);
    let smtp = smtp.map_err(|invalid| Failure::from(invalid.at("smtp")).into_usage())?;
    Ok(Some(smtp))
}

/// Who is told, and by what.
pub(crate) fn alerts(configuration: &Configuration) -> Result<Alerts, Failure> {
    let mailer = smtp(configuration)?.map(|smtp| -> Mailer {
        Arc::new(move |mail| {
            let smtp = smtp.clone();
            Box::pin(async move { smtp.send(&mail).await.map(drop) })
        })
    });
    Ok(Alerts {
        contacts: configuration.contacts.clone(),
        mailer,
    })
}
