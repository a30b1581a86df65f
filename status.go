package omca

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"os"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/wire"
	"omca/pki"
)

// status answers /api/daemon/status.
func (s *Server) status(ctx context.Context) (wire.Status, error) {
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return wire.Status{}, err
	}
	st := wire.Status{
		Node: s.config.NodeName, Version: s.config.Version, PID: os.Getpid(), StartedAt: s.started.UTC(),
		Addresses: []string{}, InProcess: s.listener.Load() == nil, RestartError: s.config.RestartError, Draining: s.draining.Load(),
	}
	st.Cluster, _ = cluster.Config.Get("cluster.name")
	st.ClusterID, _ = cluster.Config.Get("cluster.id")
	if addresses := s.heard.Load(); addresses != nil {
		st.Addresses = *addresses
	}
	if cert, err := s.leaf(ctx, s.authority.ClusterCA); err == nil {
		st.CASHA256, st.CANotAfter = pki.Fingerprint(cert), cert.NotAfter.UTC()
	}
	if cert, err := s.leaf(ctx, s.authority.ListenerPath); err == nil {
		st.ListenerSerial, st.ListenerNotAfter = string(pki.SerialOf(cert)), cert.NotAfter.UTC()
	}
	st.OpenID, st.Clock, st.Panics = s.openidStatus(), s.clockStatus(), s.panicStatus()
	if st.Store, err = s.storeStatus(ctx); err != nil {
		return st, err
	}
	st.Certificates, err = s.objects.CountRecords(ctx)
	return st, err
}

// whoWeAre returns the name of the cluster and the fingerprint of its CA.
func (s *Server) whoWeAre(ctx context.Context) (cluster, fingerprint string, err error) {
	c, err := s.objects.Cluster(ctx)
	if err != nil {
		return "", "", err
	}
	cert, err := s.leaf(ctx, s.authority.ClusterCA)
	if err != nil {
		return "", "", err
	}
	return c.Name, pki.Fingerprint(cert), nil
}

// leaf returns the live certificate of the object that where names.
func (s *Server) leaf(ctx context.Context, where func(context.Context) (string, error)) (*x509.Certificate, error) {
	path, err := where(ctx)
	if err != nil {
		return nil, err
	}
	chain, _, err := s.authority.Serving(ctx, path)
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

// ready answers /readyz: the store answers, or has not been away for too long, and
// there is a CA to sign with.
func (s *Server) ready(ctx context.Context) error {
	if s.draining.Load() {
		return errDraining
	}
	if _, err := s.db.Rev(ctx); err != nil {
		return err
	}
	if err := s.current(ctx); err != nil {
		return err
	}
	_, err := s.leaf(ctx, s.authority.ClusterCA)
	return err
}

// requestStop ends Run, which then drains.
func (s *Server) requestStop() {
	if stop := s.stop.Load(); stop != nil {
		(*stop)()
	}
}

// Explanation is the readable view of one certificate at one time.
type Explanation struct {
	pki.CertificateInfo
	SubjectDN string   `json:"subject_dn"` // "CN=node1,O=MyCorp"
	IssuerDN  string   `json:"issuer_dn"`
	Names     []string `json:"names"`     // as the keyword alt_names takes them: "DNS:node1"
	State     ca.State `json:"state"`     // by its validity alone: nothing else was checked
	DaysLeft  int      `json:"days_left"` // negative when it has expired
}

// Explain describes every certificate in text, which is PEM, or the DER of one.
func Explain(text []byte, now time.Time) ([]Explanation, error) {
	certs, err := readCertificates(text)
	if err != nil {
		return nil, err
	}
	all := make([]Explanation, len(certs))
	for i, cert := range certs {
		all[i] = Explanation{
			CertificateInfo: pki.Info(cert), SubjectDN: cert.Subject.String(), IssuerDN: cert.Issuer.String(),
			Names: pki.NamesOf(cert).Strings(), State: ca.StateAt(cert, now), DaysLeft: pki.DaysLeft(cert, now),
		}
	}
	return all, nil
}

func readCertificates(text []byte) ([]*x509.Certificate, error) {
	if bytes.Contains(text, []byte("-----BEGIN ")) {
		return pki.ParseCertificates(text)
	}
	cert, err := x509.ParseCertificate(text)
	if err != nil {
		return nil, errors.New("neither PEM nor the DER of a certificate")
	}
	return []*x509.Certificate{cert}, nil
}
