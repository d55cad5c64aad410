select shop, count(*), sum(cents), avg(cents), max(product) from sales group by shop order by 3 desc;
select product % 13, percentile_cont(0.9) within group (order by cents) from sales group by 1;
