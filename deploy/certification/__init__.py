"""Which spikes of a run can't differ on any conforming backend: the certificate of margin (docs/certify.md)."""

from deploy.certification.certificate import Certificate, certify

__all__ = ["Certificate", "certify"]
