"""What the demo and the tests share: a real primary, the judge of its replicas, a loopback SFTP server."""
