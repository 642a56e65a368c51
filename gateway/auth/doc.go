// Package auth finds out who makes a request, and what they may do. It knows requests, but neither routes nor events: the
// gateway asks it once for each request, and decides by the [Identity] it gets.
//
//	method    credential                                      who checks it
//	jwt       Authorization: Bearer, or a cookie              a secret, public keys of a file, or those of a JWKS address
//	callback  the session cookies of the application, or      the application itself: GATEWAY_AUTH_URL
//	          any Authorization that is no token and no key
//	keys      Authorization: Bearer sluice_<name>_<secret>    the settings, which hold only digests of keys
//	(all)     ?ticket= of a stream                            Request.TicketOf: what a ticket's maker may read is kept with it
//
// The credential that comes first decides: Authorization, then a ticket, then the cookie with a token, then the cookies of the
// application. If it is bad, the request is refused; another one never gets a chance, since a client that presents a bad
// credential means to be somebody. A request without any gets the session of those who are not known.
//
// # What it does not do
//
// It does not sign anybody in, and it does not keep credentials: a cookie becomes a digest, and a token is forgotten once it
// is checked. It writes no credential into a log or an error.
//
// # Design
//
// Tokens. A gateway has one source of keys: a secret, or public keys, never both. So no token can be signed by HMAC with a
// public key as the secret. The algorithms that are accepted follow from the keys, and "none" is not among them. exp is
// required. Claims are read by their exact names. What is wrong with a token is told in detail only after its signature
// was found good.
//
// JWKS. jwkset reads the keys; fetching them is this package's. MicahParks/keyfunc, which fetches too, was not used: its
// fetch has no bound on the answer's size, an empty answer removes all keys, and nobody can wait for the end of its
// goroutine. Here keys are fetched every 5 minutes, and once for a token with an unknown key id, but not twice within 10 s:
// tokens with made-up key ids cause 6 fetches a minute. While the address does not answer, the known keys stay.
//
// Callback. The application gets Cookie, Authorization, Origin, Referer and X-Forwarded-For, -Proto and -Host, because
// session systems decide by these: Auth.js takes the name of its cookie from the protocol, Laravel Sanctum wants the
// referer. Redirects are not followed and Set-Cookie is ignored. An answer counts for a minute, a refusal for 5 s, both for
// exactly the same headers: the digest covers each of them with its length, so nobody can make up a request that has the
// answer of another one. Requests with one credential that come at the same time cause one call.
//
// Made-up cookies. Each is a call to the application. So at most 32 calls are under way, 8 for one client address, and an
// address that has caused 50 refusals may cause one more each second. Who is over that gets a 503: the sessions behind the
// same address that are known go on, and a new one comes back a moment later. Calls that the application answers with a
// name are free, since a whole office may have one address.
//
// Application away. Who is known goes on until twice GATEWAY_AUTH_MAX_AGE after the application's last word, but not longer
// than the session was to last. New ones get a 503, after which every EventSource comes back.
//
// API keys are random (130 bits), so a fast digest is enough; a name that does not exist takes as long as a wrong secret.
//
// Tickets. A browser's EventSource sends no headers, so a page that holds a token gets a ticket with it and puts that into the
// address of the stream: 130 random bits, for one stream, for half a minute. Unlike a token, it is of little use to whoever reads
// it in a log later. A ticket keeps what its maker may read, until when, and by what it can be revoked; never more.
//
// Revocations. What was revoked is a list that whoever runs the Authenticator keeps up to date (the gateway reads it from Redis).
// A token is compared by the second in which it was issued, the application's word by this machine's clock. An answer that is
// revoked is asked for again.
//
// # Costs
//
// A ticket takes a key of some 300 bytes in Redis, for 30 s, or for 75 s after its stream was heard of last; one subject makes 20
// of them on a replica, and then one each second. Making one costs Redis two commands, opening a stream with it a read and
// a script, keeping it a script every 15 s. A replica with streams by ticket asks 2.5 times a second which of them have lost
// theirs.
//
// A revocation takes some 100 bytes on each replica and in Redis, 100,000 of them at most, for GATEWAY_REVOKE_FOR; one more is
// refused. While there are none, a request pays one read of a counter, otherwise two look-ups. A replica asks Redis 2.5 times a
// second what is new: one command, an empty answer. A revocation asks about every stream once, in a loop 1,000 at a time.
// A stream has 16 bytes for it.
//
// A session takes some 200 bytes and its strings, once for all its streams: equal identities are one value in memory
// (package unique). A stream holds 8 bytes of it. An answer of the application takes some 300 bytes for 10 minutes, 50,000 of
// them at most; a refusal the same for 5 s. Nothing of it is in Redis.
//
// What one request costs, from BenchmarkIdentify, beside other work on the machine:
//
//	no credential                     0.02  µs
//	an API key                        0.3   µs
//	a session that is known           3-4   µs
//	a token, HS256                    7-8   µs
//	a token, RS256                    60-73 µs
//	a token, EdDSA or ES256           90-160 µs
package auth
