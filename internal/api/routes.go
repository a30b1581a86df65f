package api

import (
	"net/http"
	"reflect"

	"omca/crl"
	"omca/internal/wire"
)

const (
	pathObject  = "/api/object/path/{namespace}/{kind}/{name}"
	pathCluster = "/api/cluster/config"
)

// routes is the table. The rows that are asked for most come first: the router
// looks at them in order.
func (d *door) routes() []route {
	rows := append(d.callerRoutes(), d.inventoryRoutes()...)
	rows = append(rows, d.publicRoutes()...)
	rows = append(rows, d.objectRoutes()...)
	rows = append(rows, d.breakRoutes()...)
	rows = append(rows, d.configRoutes()...)
	rows = append(rows, d.keyRoutes()...)
	rows = append(rows, d.nodeRoutes()...)
	rows = append(rows, d.clusterRoutes()...)
	rows = append(rows, d.certificateRoutes()...)
	rows = append(rows, d.previewRoutes()...)
	rows = append(rows, d.adoptionRoutes()...)
	rows = append(rows, d.listRoutes()...)
	rows = append(rows, d.sessionRoutes()...)
	rows = append(rows, d.openIDRoutes()...)
	rows = append(rows, d.userRoutes()...)
	rows = append(rows, d.ownPasswordRoutes()...)
	rows = append(rows, d.tokenRoutes()...)
	rows = append(rows, d.verifyRoutes()...)
	rows = append(rows, d.foreignRoutes()...)
	rows = append(rows, d.backupRoutes()...)
	rows = append(rows, d.historyRoutes()...)
	rows = append(rows, d.doctorRoutes()...)
	rows = append(rows, d.auditRoutes()...)
	return append(rows, d.daemonRoutes()...)
}

func (d *door) callerRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/whoami", rule: named(), id: "whoami", about: "Who the server takes the caller for.",
			answer: jsonAnswer[wire.Whoami](http.StatusOK), handle: d.whoami},
		{method: http.MethodGet, path: "/api/auth/whoami", rule: named(), id: "authWhoami", about: "Who the server takes the caller for.",
			answer: jsonAnswer[wire.Whoami](http.StatusOK), handle: d.whoami},
	}
}

func (d *door) inventoryRoutes() []route {
	return []route{
		{method: http.MethodPost, path: "/api/certificate", rule: authenticated(), id: "signCertificate", paced: true,
			about: "Sign a request made elsewhere; every name and use must be granted to the caller.",
			body:  jsonBody[wire.SignRequest](limitCSR), answer: jsonAnswer[wire.Signed](http.StatusCreated), audit: auditByCA, handle: d.signCertificate},
		{method: http.MethodGet, path: "/api/certificate", rule: authenticated(), id: "listCertificates",
			about: "The inventory of the certificates issued, soonest expiry first, as far as the caller may read their owners.",
			params: []param{
				{name: "expiring", about: "Only those that expire within this time, such as 30d."},
				{name: "owner", about: "Only those of the object with this path; ux:root is the machine's root."},
				{name: "issuer", about: "Only those that the CA with this path signed."},
				{name: "profile", about: "Only those of this profile."},
				{name: "revoked", about: "true: only those that are revoked; false: only the others."},
				{name: "state", about: "Only those in this state: valid, not_yet_valid, expired or revoked."},
				{name: "search", about: "Only those with each of these words in the serial number, the subject, a name, the owner or the issuer, in any case."},
				{name: "limit", about: "At most so many, from 1 to 1000."},
				{name: "after", about: "Only those behind this cursor, the next of another page."},
			},
			answer: jsonAnswer[wire.CertificateList](http.StatusOK), handle: d.listCertificates},
		{method: http.MethodGet, path: "/api/certificate/{serial}", rule: authenticated(), id: "getCertificateRecord", about: "One certificate of the inventory.",
			answer: jsonAnswer[wire.FullRecord](http.StatusOK), handle: d.getRecord},
		{method: http.MethodPost, path: "/api/certificate/{serial}/revoke", rule: ownersRule(), id: "revokeSerial",
			about: "Take a certificate back, for good. Asking again changes nothing.",
			body:  jsonOption[wire.RevokeRequest](), answer: jsonAnswer[wire.Revoked](http.StatusOK), audit: auditByCA, handle: d.revokeSerial},
		{method: http.MethodGet, path: "/api/ca", rule: authenticated(), id: "getCA", about: "The certificate of the cluster's CA.",
			answer: jsonAnswer[wire.Authority](http.StatusOK), handle: d.getCA},
	}
}

func (d *door) publicRoutes() []route {
	return append(d.signedRoutes(), []route{
		{method: http.MethodGet, path: "/healthz", rule: public(), id: "healthz", about: "Whether the process is alive.",
			answer: jsonAnswer[wire.Health](http.StatusOK), handle: d.healthz},
		{method: http.MethodGet, path: "/readyz", rule: public(), id: "readyz", about: "Whether requests can be served.",
			answer: jsonAnswer[wire.Health](http.StatusOK), handle: d.readyz},
		{method: http.MethodGet, path: "/api/auth/info", rule: public(), id: "authInfo", about: "How callers can prove who they are.",
			answer: jsonAnswer[wire.AuthInfo](http.StatusOK), handle: d.authInfo},
		{method: http.MethodGet, path: "/api/openapi", rule: public(), id: "openapi", about: "This document.",
			answer: answer{status: http.StatusOK, media: mediaJSON}, handle: d.serveOpenAPI},
		{method: http.MethodGet, path: "/api/docs", rule: public(), id: "docs", about: "The same for people.",
			answer: answer{status: http.StatusOK, media: mediaHTML}, handle: d.serveDocs},
		{method: http.MethodGet, path: "/metrics", rule: d.measures(), id: "metrics", about: "Metrics in the text format of Prometheus.",
			answer: answer{status: http.StatusOK, media: "text/plain"}, handle: d.serveMetrics},
	}...)
}

// signedRoutes are those that plain HTTP has too: what they give is signed.
func (d *door) signedRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/crl/{name}.crl", rule: public(), id: "getCRL", about: "The revocation list of the CA with this name, DER.",
			answer: answer{status: http.StatusOK, media: mediaCRL, unchanged: true}, handle: d.getCRL},
		{method: http.MethodGet, path: "/crl/{name}.pem", rule: public(), id: "getCRLPEM", about: "The revocation list of the CA with this name, PEM.",
			answer: answer{status: http.StatusOK, media: mediaPEM, unchanged: true}, handle: d.getCRLPEM},
		{method: http.MethodPost, path: "/ocsp", rule: public(), id: "postOCSP", about: "Answer an OCSP request (RFC 6960).", anyOrigin: true,
			body: body{media: mediaOCSPRequest, limit: crl.MaxOCSPRequest}, answer: answer{status: http.StatusOK, media: mediaOCSP}, handle: d.postOCSP},
		{method: http.MethodGet, path: "/ocsp/{request}", rest: true, rule: public(), id: "getOCSP", about: "The same for a request in the URL, in base64, escaped (RFC 6960, A.1).",
			answer: answer{status: http.StatusOK, media: mediaOCSP}, handle: d.getOCSP},
		{method: http.MethodGet, path: "/ca.pem", rule: public(), id: "caPEM", about: "The chain of the cluster's CA.",
			answer: answer{status: http.StatusOK, media: mediaPEM}, handle: d.getCAPEM},
	}
}

// listRoutes are about the revocation lists that are enforced here.
func (d *door) listRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/api/crl", rule: looksAround(), id: "listCRLs", about: "The revocation lists: those published here, and those of other CAs that are enforced here.",
			answer: jsonAnswer[wire.CRLList](http.StatusOK), handle: d.listCRLs},
		{method: http.MethodPost, path: "/api/crl/refresh", rule: root(), id: "refreshCRL", about: "Fetch the revocation lists of other CAs now.",
			body: jsonOption[wire.RefreshRequest](), answer: answer{status: http.StatusNoContent}, audit: auditCalls, handle: d.refreshCRL},
	}
}

func (d *door) objectRoutes() []route {
	selector := []param{{name: "path", about: "Selector: paths or globs, comma separated. Everything unless given."}}
	destroy := param{name: "destroy_key", about: "Whether to destroy the key of a CA too, which ends its revocation list and its OCSP answers for good: false unless given. Needs root."}
	return []route{
		{method: http.MethodGet, path: "/api/object/path", rule: authenticated(), id: "listPaths", about: "The paths of the objects that a selector selects, as far as the caller may read them.",
			params: selector, answer: jsonAnswer[[]string](http.StatusOK), handle: d.listPaths},
		{method: http.MethodGet, path: "/api/object", rule: authenticated(), id: "listObjects", about: "The objects that a selector selects, as far as the caller may read them.",
			params: selector, answer: jsonAnswer[wire.ObjectList](http.StatusOK), handle: d.listObjects},
		{method: http.MethodGet, path: pathObject, rule: reads(), id: "getObject", about: "Everything about an object but the values of its keys.",
			answer: jsonAnswer[wire.ObjectItem](http.StatusOK), handle: d.getObject},
		{method: http.MethodPost, path: pathObject, rule: d.creates(), id: "createObject", paced: true, about: "Create an object (201), or update the keywords of the one that is there (200).",
			body:   body{media: mediaJSON, schema: reflect.TypeFor[wire.CreateRequest](), limit: 2 * limitConfig, optional: true},
			answer: answer{status: http.StatusCreated, another: http.StatusOK, media: mediaJSON, schema: reflect.TypeFor[wire.Created]()}, audit: auditCalls, handle: d.createObject},
		{method: http.MethodPost, path: pathObject + "/action/delete", rule: d.changes(), id: "deleteObject", about: "Delete an object and its keys.",
			params: []param{{name: "revoke", about: "Whether to revoke first all certificates that were issued for it: true unless given for a usr, false for any other kind."}, destroy},
			answer: jsonAnswer[wire.Orchestration](http.StatusOK), audit: auditCalls, handle: d.deleteObject},
		{method: http.MethodPost, path: pathObject + "/action/purge", rule: d.changes(), id: "purgeObject", about: "The same: nothing of an object is anywhere else.",
			params: []param{{name: "revoke", about: "As for delete."}, destroy},
			answer: jsonAnswer[wire.Orchestration](http.StatusOK), audit: auditCalls, handle: d.deleteObject},
	}
}

func (d *door) configRoutes() []route {
	file := body{media: mediaText, limit: limitConfig}
	get := []param{
		{name: "kw", list: true, about: "Keyword. All that are set unless given."},
		{name: "evaluate", about: "true: also what the keyword comes to, which is the default where it is not set."},
		{name: "impersonate", about: "With evaluate: the node that it is asked for. A value is the same on every node."},
	}
	patch := []param{
		{name: "set", list: true, about: "Expression: KEYWORD=VALUE, or += -= |= for the words of a list."},
		{name: "unset", list: true, about: "Keyword."},
		{name: "delete", list: true, about: "Section."},
	}
	none := answer{status: http.StatusNoContent}
	text := answer{status: http.StatusOK, media: mediaText}
	return []route{
		{method: http.MethodGet, path: pathObject + "/config/file", rule: reads(), id: "getConfigFile", about: "The config of an object as INI.", answer: text, handle: d.getConfigFile},
		{method: http.MethodPost, path: pathObject + "/config/file", rule: d.creates(), id: "postConfigFile", about: "Create an object with this config.",
			body: file, answer: none, audit: auditCalls, handle: d.postConfigFile},
		{method: http.MethodPut, path: pathObject + "/config/file", rule: d.changes(), id: "putConfigFile", about: "Replace the config of an object.",
			body: file, answer: none, audit: auditCalls, handle: d.putConfigFile},
		{method: http.MethodGet, path: pathObject + "/config", rule: reads(), id: "getConfig", about: "Values of keywords.",
			params: get, answer: jsonAnswer[wire.KeywordList](http.StatusOK), handle: d.getConfig},
		{method: http.MethodPatch, path: pathObject + "/config", rule: d.changes(), id: "patchConfig", about: "Change keywords, all or none: delete, then unset, then set.",
			params: patch, answer: jsonAnswer[wire.Changed](http.StatusOK), audit: auditCalls, handle: d.patchConfig},
		{method: http.MethodGet, path: pathObject + "/config/validate", rule: reads(), id: "validateConfig", about: "What is wrong with the config of an object.",
			answer: jsonAnswer[wire.Findings](http.StatusOK), handle: d.validateConfig},
		{method: http.MethodGet, path: pathCluster, rule: reads(), id: "getClusterConfig", about: "Values of keywords of the cluster.",
			params: get, answer: jsonAnswer[wire.KeywordList](http.StatusOK), handle: d.getConfig},
		{method: http.MethodPatch, path: pathCluster, rule: d.changes(), id: "patchClusterConfig", about: "Change keywords of the cluster.",
			params: patch, answer: jsonAnswer[wire.Changed](http.StatusOK), audit: auditCalls, handle: d.patchConfig},
		{method: http.MethodGet, path: pathCluster + "/file", rule: root(), id: "getClusterConfigFile", about: "The config of the cluster as INI.", answer: text, handle: d.getConfigFile},
		{method: http.MethodPut, path: pathCluster + "/file", rule: d.changes(), id: "putClusterConfigFile", about: "Replace the config of the cluster.",
			body: file, answer: none, audit: auditCalls, handle: d.putConfigFile},
		{method: http.MethodGet, path: "/api/keyword", rule: authenticated(), id: "listKeywords", about: "What the keywords of a kind mean.",
			params: []param{{name: "kind", about: "sec, usr, cfg or cluster."}, {name: "kw", about: "Only this keyword."}},
			answer: jsonAnswer[wire.KeywordDocs](http.StatusOK), handle: d.listKeywords},
	}
}

func (d *door) keyRoutes() []route {
	name := []param{{name: "name", about: "Name of the key."}}
	set := append(name[:1:1], param{name: "hashed", about: "true: the value is the hash of the password of a usr, made by argon2id or bcrypt elsewhere."},
		param{name: "weak", about: "true, by root: the password of a usr is taken however easy to guess."})
	raw := body{media: mediaAny, limit: limitRaw}
	none := answer{status: http.StatusNoContent}
	return []route{
		{method: http.MethodGet, path: pathObject + "/data", rule: d.readsValues(), id: "getData", about: "Keys with their values.",
			params: []param{{name: "name", list: true, about: "Name of a key. All that the caller may read unless given."}},
			answer: jsonAnswer[[]wire.KeyValue](http.StatusOK), audit: auditSealed, handle: d.getData},
		{method: http.MethodPatch, path: pathObject + "/data", rule: d.changes(), id: "patchData", about: "Add, change, remove and rename keys, all or none.",
			body: jsonBody[[]wire.KeyEdit](limitJSON), answer: none, audit: auditCalls, handle: d.patchData},
		{method: http.MethodGet, path: pathObject + "/data/key", rule: d.readsValues(), id: "getKey", about: "The value of a key, byte for byte.",
			params: name, answer: answer{status: http.StatusOK, media: mediaAny, orText: true}, audit: auditSealed, handle: d.getKey},
		{method: http.MethodPost, path: pathObject + "/data/key", rule: d.changes(), id: "addKey", about: "Add a key. A part of a certificate set may be there already.",
			params: set, body: raw, answer: none, audit: auditCalls, handle: d.addKey},
		{method: http.MethodPut, path: pathObject + "/data/key", rule: d.changes(), id: "changeKey", about: "Change the value of a key.",
			params: set, body: raw, answer: none, audit: auditCalls, handle: d.changeKey},
		{method: http.MethodDelete, path: pathObject + "/data/key", rule: d.changes(), id: "removeKey", about: "Remove a key, if it is there.",
			params: name, answer: none, audit: auditCalls, handle: d.removeKey},
		{method: http.MethodGet, path: pathObject + "/data/keys", rule: reads(), id: "listKeys", about: "Keys without their values.",
			answer: jsonAnswer[wire.DataKeyList](http.StatusOK), handle: d.listKeys},
	}
}

func (d *door) certificateRoutes() []route {
	return []route{
		{method: http.MethodGet, path: pathObject + "/certificate", rule: reads(), id: "getCertificate", about: "The certificate of an object as it stands.",
			answer: jsonAnswer[wire.CertificateState](http.StatusOK), handle: d.getCertificate},
		{method: http.MethodPost, path: pathObject + "/certificate", rule: d.changes(), id: "createCertificate", paced: true, about: "Give an object the certificate that its keywords ask for.",
			body: jsonOption[wire.Creation](), answer: jsonAnswer[wire.Issued](http.StatusOK), audit: auditByCA, handle: d.createCertificate},
		{method: http.MethodPost, path: pathObject + "/certificate/renew", rule: d.changes(), id: "renewCertificate", paced: true, about: "Give an object a new certificate in place of its own.",
			body: jsonOption[wire.Renewal](), answer: jsonAnswer[wire.Issued](http.StatusOK), audit: auditByCA, handle: d.renewCertificate},
		{method: http.MethodPost, path: pathObject + "/certificate/revoke", rule: d.revokes(), id: "revokeCertificate", about: "Take back the certificate that an object holds, for good.",
			body: jsonOption[wire.RevokeRequest](), answer: jsonAnswer[wire.Revoked](http.StatusOK), audit: auditByCA, handle: d.revokeHeld},
		{method: http.MethodPost, path: pathObject + "/certificate/signing-request", rule: d.changes(), id: "signingRequest", about: "The PKCS #10 request for the key and the keywords of an object, PEM.",
			answer: answer{status: http.StatusOK, media: mediaText}, audit: auditCalls, handle: d.signingRequest},
		{method: http.MethodPost, path: pathObject + "/certificate/pkcs12", rule: d.readsPrivateKey(), id: "pkcs12", about: "Key, certificate and chain as a PKCS #12 file.",
			body: jsonBody[wire.PKCS12Request](limitCSR), answer: answer{status: http.StatusOK, media: mediaP12}, audit: auditCalls, handle: d.pkcs12},
	}
}

func (d *door) daemonRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/api/daemon/status", rule: looksAround(), id: "daemonStatus", about: "How the daemon is doing.",
			answer: jsonAnswer[wire.Status](http.StatusOK), handle: d.status},
		{method: http.MethodPost, path: "/api/daemon/action/stop", rule: root(), id: "stopDaemon", about: "Stop the daemon once what is under way is done.",
			answer: answer{status: http.StatusAccepted}, audit: auditCalls, handle: d.stop},
		{method: http.MethodPost, path: "/api/daemon/action/restart", rule: root(), id: "restartDaemon", about: "Have another process take the daemon's place: it is given the sockets, so that no connection is refused. Answered before that is done.",
			answer: answer{status: http.StatusAccepted}, audit: auditCalls, handle: d.restart},
		{method: http.MethodPost, path: "/api/daemon/action/accept-rollback", rule: root(), id: "acceptRollback",
			about:  "Take a store that was set back as it is: what was removed stays removed, and numbers go on above those that were there. Until then nothing is signed, revoked or published.",
			answer: jsonAnswer[wire.AcceptedRollback](http.StatusOK), audit: auditCalls, handle: d.acceptRollback},
		{method: http.MethodGet, path: "/debug/pprof/{profile}", rule: root(), id: "getProfile", about: "A profile of the daemon itself, as \"go tool pprof\" reads it: cpu, heap, allocs, goroutine, mutex or block.",
			params: []param{{name: "seconds", about: "How long to watch the processor, from 1 to 60: 10 unless given."}},
			answer: answer{status: http.StatusOK, media: mediaAny}, audit: auditCalls, handle: d.getProfile},
	}
}
