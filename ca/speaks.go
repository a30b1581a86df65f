package ca

import (
	"time"

	"omca/pki/flocker"
)

// SpeaksFor names the user that the certificate speaks for, as Identify does from
// the certificate alone: that of the SPIFFE ID in the trust domain of the cluster.
// One that was adopted has no such ID, and speaks for the user that it was adopted
// for. ok is false for a certificate that speaks for no user.
//
// It is the owner, but for records of older builds: they let root name another.
func (r Record) SpeaksFor(cluster string) (user string, ok bool) {
	if r.Profile != ProfileUser || r.Certificate.IsCA {
		return "", false
	}
	user, marked, err := markedUser(r.Certificate, cluster)
	if err != nil || marked {
		return user, err == nil && user != ""
	}
	holder, err := flocker.Identify(r.Certificate)
	if err != nil || holder.Role != flocker.User || r.Owner != userPrefix+holder.Name {
		return "", false
	}
	return holder.Name, true
}

// Rightful returns r as it would be recorded today: a certificate that speaks for a
// user belongs to that user, whatever owner the record of an older build names. The time
// when that user was made is not on record then.
func (r Record) Rightful(cluster string) Record {
	if user, ok := r.SpeaksFor(cluster); ok && r.Owner != userPrefix+user {
		r.Owner, r.OwnerSince = userPrefix+user, time.Time{}
	}
	return r
}
