//! One order: a host is validated, and its certificate issued.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeHandle, ChallengeType, Error, Identifier, KeyAuthorization,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};

use crate::net::{AcmeCertificates, ChallengeKind, WaitingChallenge};

/// How the state of an order is asked for: at first after a quarter of a second, then less often.
const POLLING: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(90));

/// A certificate with its issuers, and its key, both in PEM.
pub(super) struct IssuedCertificate {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Obtains a certificate for a host, with a new key.
///
/// # Errors
/// The server refuses or cannot be reached, or the validation fails.
///
/// # Cancel safety
/// Dropping the future gives up the order, and withdraws the answer to its validation.
pub(super) async fn issue(
    account: &Account,
    certificates: &AcmeCertificates,
    domain: &str,
    kind: ChallengeKind,
) -> Result<IssuedCertificate> {
    let identifiers = [Identifier::Dns(domain.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let waiting = answer(&mut order, certificates, domain, kind).await?;
    let ready = order.poll_ready(&POLLING).await;
    // Not earlier: the server validates until the order is ready, and may do so from several places.
    drop(waiting);
    match ready {
        Ok(OrderStatus::Ready) => {}
        Ok(status) => return Err(reason(&mut order, anyhow!("the order is {status:?}")).await),
        Err(error) => return Err(reason(&mut order, error.into()).await),
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![domain.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    order.finalize_csr(request.der()).await.context("the request for the certificate")?;
    let chain = order.poll_certificate(&POLLING).await.context("the certificate")?;
    Ok(IssuedCertificate { chain, key: key.serialize_pem() })
}

/// Returns whether the server does not know the account any more.
pub(super) fn is_account_unknown(error: &anyhow::Error) -> bool {
    let Some(Error::Api(problem)) = error.downcast_ref() else { return false };
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}

/// Offers the answers to the validations of an order, and asks for them.
async fn answer(
    order: &mut Order,
    certificates: &AcmeCertificates,
    domain: &str,
    kind: ChallengeKind,
) -> Result<Vec<WaitingChallenge>> {
    let mut waiting = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            // The server remembers the last validation.
            AuthorizationStatus::Valid => continue,
            status => bail!("the authorization is {status:?}"),
        }
        let wanted = match kind {
            ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
            ChallengeKind::Http01 => ChallengeType::Http01,
        };
        let Some(mut challenge) = authorization.challenge(wanted) else {
            bail!("the server does not offer {}: change tls.acme.challenges", kind.name());
        };
        waiting.push(offer(&challenge, certificates, domain, kind)?);
        challenge.set_ready().await?;
    }
    Ok(waiting)
}

fn offer(
    challenge: &ChallengeHandle<'_>,
    certificates: &AcmeCertificates,
    domain: &str,
    kind: ChallengeKind,
) -> Result<WaitingChallenge> {
    let authorization = challenge.key_authorization();
    match kind {
        ChallengeKind::Http01 => Ok(certificates.offer_http(&challenge.token, authorization.as_str())),
        ChallengeKind::TlsAlpn01 => {
            let (certificate, key) = validation_certificate(domain, &authorization)?;
            certificates.offer_tls(domain, certificate, key)
        }
    }
}

/// Makes the certificate that is shown in a validation, and its key, both in DER (RFC 8737 §3).
fn validation_certificate(domain: &str, authorization: &KeyAuthorization) -> Result<(Vec<u8>, Vec<u8>)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(authorization.digest().as_ref())];
    Ok((params.self_signed(&key)?.der().to_vec(), key.serialize_der()))
}

/// Adds what the server says of a failed validation to an error.
async fn reason(order: &mut Order, error: anyhow::Error) -> anyhow::Error {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else { break };
        let Ok(state) = authorization.refresh().await else { break };
        let problem = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            return error.context(problem.to_string());
        }
    }
    error
}
