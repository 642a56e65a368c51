// Package deploy holds what it takes to run Sluice as a cluster: the Dockerfile, and in decisions the choices that
// concern more than one room. The compose file and nginx.conf that use them lie at the root of the repository, where a
// user looks for them.
//
// There is no code to import. The package's test starts the real compose project and breaks it on purpose:
//
//	SLUICE_TEST_CLUSTER=1 go test -v ./deploy
package deploy
