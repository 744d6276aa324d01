SELECT nothing FROM 'passed over';
