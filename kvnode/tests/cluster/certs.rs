//! Certificates made for one test.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// An authority with a folder for what it makes.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// The files of one certificate.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let authority = Authority {
            issuer,
            folder: folder.to_owned(),
        };
        kvnode::env::fs::create_dir_all(folder).expect("a folder");
        write(&authority.ca(), &authority.issuer.pem());
        authority
    }

    /// The file with its own certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for the loopback.
    pub(crate) fn certificate(&self, name: &str) -> Files {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        self.sign(name, CertificateParams::new(names).expect("legal names"))
    }

    /// One for another host.
    pub(crate) fn certificate_of_another_host(&self, name: &str) -> Files {
        let names = ["another.example".to_owned()];
        self.sign(name, CertificateParams::new(names).expect("a legal name"))
    }

    /// One that was good until long ago.
    pub(crate) fn expired_certificate(&self, name: &str) -> Files {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("legal names");
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(name, params)
    }

    fn sign(&self, name: &str, params: CertificateParams) -> Files {
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = Files {
            cert: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        };
        write(&files.cert, &signed.pem());
        write(&files.key, &key.serialize_pem());
        files
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    kvnode::env::fs::write_durably(path, text.as_bytes()).expect("a file");
}
