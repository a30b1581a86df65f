package main

// control is one check, and the test that must fail when it is taken out.
type control struct {
	name string
	room string // the directory of the test
	test string // as go prints it
	says string // what the test says then, among other things
	what string // is taken out, in words
	cuts []cut
}

// cut is a text that a file has once, and what stands in its place.
type cut struct{ file, old, stands string }

// impatience has tests in vain wait for a shorter time.
func impatience() cut {
	return cut{"internal/interop/lab/binary.go", "const Patience = 90 * time.Second", "const Patience = 15 * time.Second"}
}

const (
	interop = "internal/interop"
	opened  = "TestRevokeOpenConnections/"
)

// table is all controls, those of one change of the sources together: go builds it once.
func table() []control {
	var (
		closing  = cut{"revoked.go", "if l := s.listener.Load(); l != nil && issuer != nil {", "if l := s.listener.Load(); l != nil && issuer != nil && false {"}
		resuming = cut{"listener/generation.go", "VerifyConnection: l.verifyConnection,",
			"VerifyConnection: func(state tls.ConnectionState) error {\nif state.DidResume {\nreturn nil\n}\nreturn l.verifyConnection(state)\n},"}
		revoked = cut{"usr/token/service.go", "case s.Store.Revoked(c.ID):", "case false:"}
	)
	const resumed = "the check of resumed handshakes"
	return []control{
		// Revocation, in handshakes and of what is open.
		{"open-own", interop, opened + "our_own_CA/open_connections", "of the revoked user is open", "the closing of connections by a revocation of ours", []cut{closing}},
		{"open-list", interop, opened + "the_list_of_another/open_connections", "of the revoked user is open", "the closing of connections by a list that came",
			[]cut{{"feeds.go", "\ts.closeRevoked(ctx)\n", ""}}},
		{"open-all", interop, opened + "our_own_CA/open_connections", "of another user was closed", "the choice of whose connections a revocation of ours closes",
			[]cut{{"listener/index.go", "return x.byCertificate[k] }", "return x.open }"}}},
		{"open-all-list", interop, opened + "the_list_of_another/open_connections", "of another user was closed", "the choice of whose connections a list closes",
			[]cut{{"revoked.go", "return s.check(p.Chains) != nil })", "return true })"}}},
		{"resumed-13", interop, opened + "our_own_CA/resumed,_TLS_1.3", "a ticket of a revoked certificate was taken", resumed, []cut{resuming}},
		{"resumed-12", interop, opened + "our_own_CA/resumed,_TLS_1.2", "a ticket of a revoked certificate was taken", resumed, []cut{resuming}},
		{"resumed-list-13", interop, opened + "the_list_of_another/resumed,_TLS_1.3", "a ticket of a revoked certificate was taken", resumed, []cut{resuming}},
		{"resumed-list-12", interop, opened + "the_list_of_another/resumed,_TLS_1.2", "a ticket of a revoked certificate was taken", resumed, []cut{resuming}},
		{"handshake", interop, "TestRefusedCertificates/a_deleted_user_over_HTTP/2.0", "expected that the server refuses the handshake", "the check of handshakes",
			[]cut{{"identify.go", "error { return s.check(state.VerifiedChains) }", "error { return nil }"}}},
		{"request", ".", "TestRevokedOnAnOpenConnection", "status 200, want 401", "the check of each request on a connection",
			[]cut{{"identify.go", "if err := s.check(r.TLS.VerifiedChains); err != nil {", "if err := error(nil); err != nil {"}}},
		{"revoked", ".", "TestRevokedAtOnce", "a revoked certificate got in", "the refusal of the revoked, in handshakes and routes",
			[]cut{{"revoked.go", "return fmt.Errorf(\"%w: %s (%s)\", errRevoked, v.Why, v.Reason)", "return nil"}}},
		{"restart", ".", "TestRevokedAfterARestart", "before the restart got in", "the reading of revocations at the start",
			[]cut{{"omca.go", "if err := s.bootstrap(ctx); err != nil {\n\t\treturn err\n\t}\n\tif err := errors.Join(s.loadRevocations(ctx), s.readPolicy(ctx)); err != nil {",
				"if err := s.bootstrap(ctx); err != nil {\n\t\treturn err\n\t}\n\tif err := s.readPolicy(ctx); err != nil {"}}},
		{"two-lists", ".", "TestTwoListsOfOneCA", "who is revoked, is let in", "the look at the lists of others beside our own",
			[]cut{{"revoked.go", "{s.enforcer.set.Load(), s.enforcer.foreign.Load()}", "{s.enforcer.set.Load()}"}}},
		{"hard", ".", "TestExternalList", "and the policy hard, got in", "the refusal of what is not settled",
			[]cut{{"revoked.go", "\tif !soft {\n", "\tif !soft && false {\n"}}},
		{"earlier", ".", "TestCertificateOfAnEarlierUser", "status 200, want 401", "the difference between a user and an earlier one of the name",
			[]cut{{"identify.go", "if !id.IssuedAt.IsZero() && id.IssuedAt.Before(u.Created) {", "if false {"}}},
		{"ca-removed", ".", "TestExternalList", "the end of a connection whose CA was taken out", "the closing of connections whose CA leaves cluster.ca",
			[]cut{{"listener/listener.go", "if !g.ClientCAs.Equal(previous.ClientCAs) {", "if false {"}}},
		{"disabled", interop, "TestOpenConnections/disabled", "the connection is not closed", "the closing of connections of the disabled",
			[]cut{{"omca.go", "if u, err := s.objects.User(ctx, p.Name); err != nil || u.Disabled {", "if _, err := s.objects.User(ctx, p.Name); err != nil {"}}},
		// Deleting a user also takes its certificates back.
		{"deleted", interop, "TestOpenConnections/deleted", "the connection is not closed", "the closing of connections of the deleted, and of the revoked",
			[]cut{closing, {"omca.go", "if u, err := s.objects.User(ctx, p.Name); err != nil || u.Disabled {", "if u, err := s.objects.User(ctx, p.Name); err == nil && u.Disabled {"}}},
		{"allowed-ips", ".", "TestTokenEnds/from_where_she_may_not_call", "want 401", "the question where a user may call from",
			[]cut{{"identify.go", "if !within(u.AllowedIPs, from) {", "if false {"}}},
		{"handshake-under-way", "listener", "TestCloseDuringTheHandshake/by_certificate", "refused is true", "the closing of handshakes under way",
			[]cut{{"listener/index.go", "if p.Certificate != nil && slices.ContainsFunc(orders", "if false && slices.ContainsFunc(orders"}}},
		{"request-in-a-buffer", "listener", "TestNoRequestBeginsOnAClosedConnection/closed", "a request got through", "the refusal of requests on closed connections",
			[]cut{{"listener/port.go", "if !ok || c.closed.Load() {", "if !ok {"}}},
		{"expiry", "listener", "TestExpiry", "the end of the certificate", "the end of a connection with its certificate",
			[]cut{{"listener/index.go", "func() { _ = c.Close() })", "func() {})"}}},
		{"tickets", "listener", "TestTicketsEnd/TLS_1.3_trust_changed", "resumed true", "the change of ticket keys with the trust",
			[]cut{{"listener/generation.go", "\t\tg.ClientCAs.Equal(other.ClientCAs) &&\n", ""}}},
		{"generation", "listener", "TestBrokenGenerationKeepsThePrevious/broken_chain", "want ErrGeneration", "the handshake of a generation with itself",
			[]cut{{"listener/generation.go", "if err := l.tryHandshakes(config); err != nil {", "if err := error(nil); err != nil {"}}},

		// Revocation lists.
		{"lists-restart", ".", "TestExternalListAfterARestart", "that was listed before the restart got in", "the reading of the lists of others at the start",
			[]cut{{"feeds.go", "if err := s.feeds.Load(ctx, sources); err != nil {", "if err := s.feeds.Load(ctx, sources[:0]); err != nil {"}}},
		{"lists-rollback", "internal/feed", "TestLastGoodCopy", "error <nil>", "the refusal of lists that go back",
			[]cut{{"internal/feed/believe.go", "\tcase older != nil:\n", "\tcase older != nil && false:\n"}, {"internal/feed/believe.go", "\tcase lapsed(h, now):\n", "\tcase older != nil || lapsed(h, now):\n"}}},
		{"crl-first", "crl", "TestNewestList", "released by the newer: revoked", "every list but the first",
			[]cut{{"crl/set.go", "for _, v := range from.Lists {", "for _, v := range from.Lists[:min(1, len(from.Lists))] {"}}},
		{"crl-first-scope", "crl", "TestPKITS/4.14_second_list", "want revoked", "every scope of lists but the first",
			[]cut{{"crl/check.go", "for _, one := range all {", "for _, one := range all[:1] {"}}},
		{"crl-first-point", "crl", "TestPKITS/4.14_second_distribution_point", "want revoked", "every distribution point but the first",
			[]cut{{"crl/scope.go", "for _, p := range distributionPoints(cert) {", "for i, p := range distributionPoints(cert) {\nif i > 0 {\nbreak\n}"}}},
		{"crl-serial", "crl", "TestNotCovered", "same serial of another issuer: revoked", "the issuer, which makes a serial number mean something",
			[]cut{{"crl/check.go", "all := s.series[authority{string(issuer.RawSubject), string(issuer.RawSubjectPublicKeyInfo)}]", "var all []*series\nfor _, some := range s.series {\nall = append(all, some...)\n}"}}},
		{"crl-serial-entry", "crl", "TestPKITS/4.14_certificateIssuer_in_a_list_that_is_not_indirect", "want undetermined", "the look at whose certificate an entry means",
			[]cut{{"crl/check.go", "if l.foreign {", "if false {"}}},
		{"crl-recent", "crl", "TestRebuilt", "not on the list yet", "the keeping of what no list has yet, once there is a new list",
			[]cut{{"crl/set.go", "if !fresh.lists(one.revocation) {", "if false {"}}},
		{"crl-expired", "crl", "TestNewestList", "the newest is old: good", "the end of a list's time",
			[]cut{{"crl/list.go", "case at.After(h.NextUpdate):", "case false:"}}},
		{"crl-signature", "crl", "TestPKITS/4.4.4_bad_CRL_signature", "want undetermined", "the signature on a list",
			[]cut{{"crl/verify.go", "if err := issuer.CheckSignature(algorithm, l.tbs, l.signature); err != nil {", "if err := error(nil); algorithm < 0 {"}}},
		{"crl-critical", "crl", "TestPKITS/4.4.10_unknown_CRL_extension", "want undetermined", "the look at unknown critical extensions",
			[]cut{{"crl/list.go", "case h.UnknownCritical != \"\":", "case false:"}}},

		// What a certificate set is, and who signs what.
		{"import-key", "ca", "TestImportInAnyOrder", "the live key is not that of the live certificate", "the comparison of an imported key with the certificate",
			[]cut{{"ca/import.go", "if !pki.SameKey(chain[0].PublicKey, key.Public()) {", "if false {"}}},
		{"import-chain", "ca", "TestImportBroken/a_chain_of_another_PKI", "expected refused", "the refusal of what is not in the chain",
			[]cut{{"pki/chain.go", "if next < 0 {", "if next < 0 {\nreturn chain, nil\n}\nif next < 0 {"}}},
		// A chain is looked at as a part and as a whole.
		{"import-expired", "ca", "TestImportBroken/expired", "expected refused", "the validity of an imported chain",
			[]cut{
				{"ca/import.go", "\tif err := pki.VerifyChain(chain, a.now()); err != nil {\n\t\treturn err\n\t}\n\tif part", "\tif part"},
				{"ca/import.go", "\tif err := pki.VerifyChain(chain, a.now()); err != nil {\n\t\treturn err\n\t}\n\treturn suits", "\treturn suits"},
			}},
		{"import-switch", interop, "TestImportUnderLoad/certificate,_private_key,_certificate_chain", "the CA changed 2 times", "the wait of a certificate for its chain",
			[]cut{{"ca/import.go", "live set.\n\treturn nil, \"certificate_chain is missing\"", "live set.\n\treturn chain, \"\""}}},
		{"inventory", "ca", "TestIdentifyWantsTheInventory", "a certificate outside the inventory is", "the look into the inventory",
			[]cut{{"ca/identify.go", "\tcase made:\n", "\tcase false:\n"}}},
		{"revoked-ca", "ca", "TestRevokedCASignsNoMore", "of a revoked CA", "the refusal of revoked CAs to sign",
			[]cut{{"ca/issue.go", "\t\tif revoked {\n", "\t\tif revoked && false {\n"}}},
		{"policy", "ca", "TestPolicyOfTheCA", "want a denial", "the policy of a CA about names",
			[]cut{{"ca/issue.go", "if err := o.issuer.policy.Check(subject, names); err != nil {", "if err := error(nil); err != nil {"}}},
		{"names", "ca", "TestSignGrants/a_name_that_is_not", "want a denial", "the look at the names that a user may ask for",
			[]cut{{"ca/issue.go", "return checkAsked(o, subject, names)", "return nil"}}},
		{"constraints", "pki", "TestNameConstraintsHold", "a.example.org under", "the look at the name constraints above a draft",
			[]cut{{"pki/issuer.go", "if err := i.checkConstraints(d.linted); err != nil {", "if err := error(nil); err != nil {"}}},
		{"lints", "pki", "TestDraftRefuses", "the issuer's own name: got <nil>", "the lint of a draft", []cut{{"pki/issuer.go", "if err := refusal(findings); err != nil {", "if err := error(nil); err != nil {"}}},
		{"signed-once", "pki", "TestSignedBytesAreTheDrafts", "signed twice", "the memory of a draft that it was signed",
			[]cut{{"pki/issuer.go", "if d.signed.Swap(true) {", "if false {"}}},

		// Who calls, and what they may.
		{"guesses-user", "usr", "TestGuessesOfUser", "attempts were let through at once", "the limit of guesses at a user's password",
			[]cut{{"usr/guess.go", "if wait := u.wait(limit); wait > 0 {", "if wait := u.wait(limit); wait > 0 && false {"}}},
		{"guesses-address", "usr", "TestGuessesFromAddress", "want 1s", "the limit of guesses from an address",
			[]cut{{"usr/guess.go", "if wait := address.wait(limit); wait > 0 {", "if wait := address.wait(limit); wait > 0 && false {"}}},
		{"guesses", ".", "TestLoginIsLimited", "five guesses: [401 401 401 401 401]", "the question whether a password may be tried",
			[]cut{{"identify_basic.go", "attempt, err := s.guesses.Take(guard.Guesses, known, address)\n\tif err != nil {", "attempt, err := s.guesses.Take(guard.Guesses, known, address)\n\tif false {"}}},
		{"grants", "usr", "TestCanGrant", "gives", "the rule that nobody gives more than they hold",
			[]cut{{"usr/grants.go", "\t\tif !g.holds(want) {\n\t\t\treturn fmt.Errorf(\"%w: grant %q is not held\"", "\t\tif false {\n\t\t\treturn fmt.Errorf(\"%w: grant %q is not held\""}}},
		{"token-revoked", "usr/token", "TestVerify", "revoked: <nil>", "the look whether a token was revoked", []cut{revoked}},
		{"token-remembered", ".", "TestTokenEnds/revoked", "want 401", "the look whether a token was revoked, also of one seen before", []cut{revoked}},
		// The tokens of a user who is disabled are taken back too, and stay so.
		{"token-disabled", ".", "TestTokenEnds/the_user_disabled", "want 401", "the refusal of disabled users and of revoked tokens",
			[]cut{revoked, {"identify.go", "\tif u.Disabled {\n", "\tif false {\n"}}},
		{"token-back", ".", "TestTokenEnds/the_user_disabled", "alive again", "the look whether a token was revoked, once its user is enabled again", []cut{revoked}},
		{"token-late", "internal/object", "TestNoTokenOfTheDisabled", "by basic: <nil>", "the refusal of tokens to those who were disabled meanwhile",
			[]cut{{"internal/object/tokens.go", "case err == nil && u.Disabled && (", "case false && ("}}},
		{"decision-expected", "internal/api", "TestLostMeanwhile/change_a_key", "status 204, want 403", "the expectation of what a change was decided on",
			[]cut{{"internal/object/decision.go", "\tif d != nil {\n\t\ttx = d.bind(tx)", "\tif d != nil && false {\n\t\ttx = d.bind(tx)"}}},
		{"decision-again", "internal/api", "TestSlowBody/the_caller_lost_a_grant", "204, want 403", "the decision that is made when the body is whole",
			[]cut{{"internal/api/decide.go", "\t\tif err := d.enter(ctx, c); err != nil {\n\t\t\treturn err\n\t\t}\n\t\treturn act(ctx)", "\t\treturn act(ctx)"}}},
		{"decision-issuer", "internal/api", "TestLostMeanwhile/sign_by_policy", "status 201, want 403", "the expectation of the CA whose policy was asked",
			[]cut{{"ca/issue.go", "\tchange.Expect = append(change.Expect, o.issuer.basis...)\n", ""}}},
		{"decision-certificate", ".", "TestIdentityIsExpected/certificate_revoked", "and then: <nil>", "the expectation that the certificate of the caller is not revoked",
			[]cut{{"identify.go", "if err := s.noteUnrevoked(ctx, r.TLS.VerifiedChains[0]); err != nil {", "if err := error(nil); err != nil {"}}},
		{"decision-token", ".", "TestIdentityIsExpected/token_revoked", "and then: <nil>", "the expectation that the token of the caller is not revoked",
			[]cut{{"identify_token.go", "if err := s.noteToken(r.Context(), v.claims.ID); err != nil {", "if err := error(nil); err != nil {"}}},
		{"decision-namespace", "internal/object", "TestNamespaceBeginsOnce", "were made by", "the mark of a namespace that was found absent",
			[]cut{{"internal/object/edit.go", "\t\td.begins(namespace, mark.Rev)\n", "\t\t_ = d\n"}}},
		{"session-password", ".", "TestSessionEnds/password_changed", "after it", "the end of sessions with the password",
			[]cut{{"identify_session.go", "case !l.PasswordChanged.Equal(u.PasswordChanged):", "case false:"}}},
		{"join-once", "internal/object", "TestJoinTokens", "spent again", "the single use of a token to join",
			[]cut{{"internal/object/join.go", "store.Tx{Expect: []store.Expect{{Key: key, Rev: rev}}, Deletes", "store.Tx{Deletes"}}},
		{"member-stopped", "internal/member", "TestReadsWhileStopping", "a stopped member is read", "the end of calls before etcd closes its files",
			[]cut{{"internal/member/client.go", "c.KV = clientv3.NewKVFromKVClient(", "_ = clientv3.NewKVFromKVClient("}}},
		{"member-removed", "internal/member", "TestMembersComeAndGo", "may still connect", "the second try to close the door behind a leader that was removed",
			[]cut{{"internal/member/members.go", "err := m.whenWell(ctx, func(ctx context.Context) error { // without", "err := func(f func(context.Context) error) error { return f(ctx) }(func(ctx context.Context) error { // without"}}},
		{"member-unknown", "internal/member", "TestUnknownIsNotRemoved", "expected 404", "the answer to a member that is not known yet, which must not stop it",
			[]cut{{"internal/member/peers.go", "\"no such member\", http.StatusNotFound", "\"no such member\", http.StatusForbidden"}}},
		{"seal", "internal/object", "TestOpenMoved", "opens at", "the place that a sealed value is bound to",
			[]cut{{"internal/object/seal.go", "header, []byte(key)}, nil)", "header}, nil)"}}},
		{"restore", "internal/object", "TestRestoreKnowsWhatWasRevoked", "came back to life", "the keeping of what the home that a backup replaces had revoked",
			[]cut{{"internal/object/restore.go", "store.Tx{Puts: []store.Put{{Key: e.Key, Value: e.Value}}})\n\t\t\treturn err", "store.Tx{})\n\t\t\treturn err"}}},
		{"cross-site", "internal/api", "TestCrossSite", "403", "the refusal of requests for pages of another origin",
			[]cut{{"internal/api/route.go", "if err := sameOrigin(c.request); err != nil {", "if err := error(nil); err != nil {"}}},
		{"cross-site-get", "internal/api", "TestCrossSiteMakesNoKey", "403", "the same of a GET that makes a key",
			[]cut{{"internal/api/keys.go", "if err := changing(c.request); err != nil {", "if err := error(nil); err != nil {"}}},
	}
}
